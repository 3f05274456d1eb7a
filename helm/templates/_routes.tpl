{{/* TLS where clients come in. */}}

{{/* cert-manager's annotation; call with the `tls` values. */}}
{{- define "voxgate.issuer" -}}
{{- if .clusterIssuer -}}
cert-manager.io/cluster-issuer: {{ .clusterIssuer | quote }}
{{- else if .issuer -}}
cert-manager.io/issuer: {{ .issuer | quote }}
{{- end -}}
{{- end -}}

{{/* The Secret with the certificate, or nothing; call with (list . tls). */}}
{{- define "voxgate.certificate" -}}
{{- $tls := index . 1 -}}
{{- if $tls.secretName -}}
{{ $tls.secretName }}
{{- else if or $tls.clusterIssuer $tls.issuer -}}
{{ include "voxgate.fullname" (index . 0) }}-tls
{{- end -}}
{{- end -}}
