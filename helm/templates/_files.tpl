{{/* What is mounted: the one list that environment, mounts and volumes follow from.

Each file is in a directory of its own, which is mounted whole: a subPath would not follow a Secret
that changes. */}}
{{- define "voxgate.files" -}}
{{- $files := list -}}
{{- with .Values -}}
{{- if and (eq (include "voxgate.authMode" $) "validate") (not .keys.file) (not (include "voxgate.watchedLabels" $)) -}}
{{- $variable := include "voxgate.keysVariable" $ -}}
{{- $secret := .keys.existingSecret | default (printf "%s-keys" (include "voxgate.fullname" $)) -}}
{{- $files = append $files (dict "name" "keys" "variable" $variable "secret" $secret "key" "keys.toml") -}}
{{- end -}}
{{- $optional := list
  (dict "name" "deployment-key" "variable" (include "voxgate.deploymentVariable" $) "secret" .deploymentKey.existingSecret "key" "api-key")
  (dict "name" "tls-cert" "variable" "VOXGATE_TLS_CERT_FILE" "secret" .tls.existingSecret "key" .tls.certificateKey)
  (dict "name" "tls-key" "variable" "VOXGATE_TLS_KEY_FILE" "secret" .tls.existingSecret "key" .tls.privateKeyKey)
  (dict "name" "admin-cert" "variable" "VOXGATE_ADMIN_TLS_CERT_FILE" "secret" .tls.admin.existingSecret "key" .tls.admin.certificateKey)
  (dict "name" "admin-key" "variable" "VOXGATE_ADMIN_TLS_KEY_FILE" "secret" .tls.admin.existingSecret "key" .tls.admin.privateKeyKey)
  (dict "name" "tls-client-ca" "variable" "VOXGATE_TLS_CLIENT_CA_FILE" "configMap" .tls.clientCaConfigMap "key" "ca.crt")
  (dict "name" "tls-client-crl" "variable" "VOXGATE_TLS_CLIENT_CRL_FILE" "configMap" .tls.clientCrlConfigMap "key" "ca.crl")
  (dict "name" "upstream-ca" "variable" "VOXGATE_UPSTREAM_TLS_CA_FILE" "configMap" .upstream.tls.caConfigMap "key" "ca.crt")
  (dict "name" "upstream-crl" "variable" "VOXGATE_UPSTREAM_TLS_CRL_FILE" "configMap" .upstream.tls.crlConfigMap "key" "ca.crl")
  (dict "name" "upstream-cert" "variable" "VOXGATE_UPSTREAM_TLS_CERT_FILE" "secret" .upstream.tls.existingSecret "key" .upstream.tls.certificateKey)
  (dict "name" "upstream-key" "variable" "VOXGATE_UPSTREAM_TLS_KEY_FILE" "secret" .upstream.tls.existingSecret "key" .upstream.tls.privateKeyKey)
  (dict "name" "policy" "variable" "VOXGATE_POLICY_FILE" "configMap" (include "voxgate.policyConfigMap" $) "key" "policy.toml")
  (dict "name" "audit-key" "variable" "VOXGATE_AUDIT_SIGNING_KEY_FILE" "secret" .audit.signingKey.existingSecret "key" "audit.key")
  (dict "name" "audit-pepper" "variable" "VOXGATE_AUDIT_PEPPER_FILE" "secret" .audit.pepper.existingSecret "key" "pepper")
  (dict "name" "audit-token" "variable" "VOXGATE_AUDIT_HTTP_TOKEN_FILE" "secret" .audit.http.existingSecret "key" "token")
  (dict "name" "audit-ca" "variable" "VOXGATE_AUDIT_CA_FILE" "configMap" .audit.caConfigMap "key" "ca.crt")
  (dict "name" "otlp-headers" "variable" "OTEL_EXPORTER_OTLP_HEADERS_FILE" "secret" .traces.otlp.existingSecret "key" "headers")
  (dict "name" "otlp-ca" "variable" "OTEL_EXPORTER_OTLP_CERTIFICATE" "configMap" .traces.otlp.caConfigMap "key" "ca.crt")
  (dict "name" "token-signing-key" "variable" "VOXGATE_TOKEN_SIGNING_KEY_FILE" "secret" .tokens.signingKey.existingSecret "key" "token.pem")
  (dict "name" "token-second-key" "variable" "VOXGATE_TOKEN_SECOND_KEY_FILE" "secret" .tokens.secondKey.existingSecret "key" "token.pem")
  (dict "name" "issuers" "variable" "VOXGATE_ISSUERS_FILE" "configMap" .tokens.issuersConfigMap "key" "issuers.toml")
  (dict "name" "redis" "variable" "VOXGATE_REDIS_URL_FILE" "secret" .redis.existingSecret "key" "url")
  (dict "name" "redis-ca" "variable" "VOXGATE_REDIS_CA_FILE" "configMap" .redis.caConfigMap "key" "ca.crt")
-}}
{{- range $optional -}}
{{- if or .secret .configMap -}}{{- $files = append $files . -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- /* What the values say is NAME, or NAME/KEY. */}}
{{- range $file := $files -}}
{{- range $kind := list "secret" "configMap" -}}
{{- with get $file $kind -}}
{{- $reference := splitn "/" 2 . -}}
{{- $_ := set $file $kind $reference._0 -}}
{{- $_ := set $file "key" ($reference._1 | default $file.key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $files -}}
{{- end -}}

{{- define "voxgate.keysVariable" -}}
{{- ternary "VOXGATE_KEYS_FILE" "VOXGATE_API_KEYS_FILE" (eq .Values.keys.format "toml") -}}
{{- end -}}

{{/* Where `voxgate key revoke --now` reaches the gateway: a mounted Secret is read-only. Keys of a keys file
and of watched Secrets have a control socket. */}}
{{- define "voxgate.controlDirectory" -}}
{{- if and (eq (include "voxgate.authMode" .) "validate") (eq .Values.keys.format "toml") -}}
/run/voxgate
{{- end -}}
{{- end -}}

{{/* The content of the policy file. A preset ends with a table, so what is inline comes first. */}}
{{- define "voxgate.policyText" -}}
{{- with .Values.policy.inline }}{{ . }}
{{ end -}}
{{- with .Values.policy.preset -}}
{{ $.Files.Get (printf "files/policies/%s.toml" .) }}
{{- end -}}
{{- end -}}

{{- define "voxgate.policyConfigMap" -}}
{{- with .Values.policy -}}
{{- if or .inline .preset -}}
{{ include "voxgate.fullname" $ }}-policy
{{- else -}}
{{ .existingConfigMap }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "voxgate.volumeMounts" -}}
{{- range include "voxgate.files" . | fromYamlArray }}
- name: voxgate-{{ .name }}
  mountPath: /etc/voxgate/{{ .name }}
  readOnly: true
{{- end }}
{{- if ne .Values.audit.volume.type "none" }}
- name: voxgate-audit
  mountPath: /var/lib/voxgate/audit
{{- end }}
{{- with include "voxgate.controlDirectory" . }}
- name: voxgate-control
  mountPath: {{ . }}
{{- end }}
{{- if ne .Values.mode "standalone" }}
# Hides the token of the pod's ServiceAccount: the API server mounts it only where nothing is mounted.
- name: voxgate-no-token
  mountPath: /var/run/secrets/kubernetes.io/serviceaccount
  readOnly: true
{{- end }}
{{- if include "voxgate.keyWatch" . }}
{{ include "voxgate.keyWatchMount" . }}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The volumes of the pod. */}}
{{- define "voxgate.volumes" -}}
{{- /* Octal text, which YAML's own reading of the schema would not let through as a number. */}}
{{- $mode := get (dict "0440" 288 "0444" 292) .Values.keys.fileMode -}}
{{- range include "voxgate.files" . | fromYamlArray }}
- name: voxgate-{{ .name }}
  {{- if .secret }}
  secret:
    secretName: {{ .secret | quote }}
  {{- else }}
  configMap:
    name: {{ .configMap | quote }}
  {{- end }}
    defaultMode: {{ $mode }}
    items:
      - key: {{ .key | quote }}
        path: {{ .key | quote }}
{{- end }}
{{- with .Values.audit.volume }}
{{- if eq .type "emptyDir" }}
- name: voxgate-audit
  emptyDir:
    sizeLimit: {{ .size }}
{{- else if eq .type "persistentVolumeClaim" }}
- name: voxgate-audit
  persistentVolumeClaim:
    claimName: {{ .existingClaim | default (printf "%s-audit" (include "voxgate.fullname" $)) | quote }}
{{- end }}
{{- end }}
{{- if include "voxgate.controlDirectory" . }}
- name: voxgate-control
  emptyDir:
    medium: Memory
    sizeLimit: 1Mi
{{- end }}
{{- if ne .Values.mode "standalone" }}
- name: voxgate-no-token
  emptyDir:
    sizeLimit: 1Mi
{{- end }}
{{- if include "voxgate.keyWatch" . }}
{{ include "voxgate.keyWatchVolume" . }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}
