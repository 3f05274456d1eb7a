{{/* Rules of NetworkPolicies. */}}

{{/* Ports as a NetworkPolicy lists them; call with a list of numbers. */}}
{{- define "voxgate.ports" -}}
{{- range . }}
- port: {{ . }}
  protocol: TCP
{{- end }}
{{- end -}}

{{/* One rule, or nothing: without a peer the rule would be for everybody. Call with
(list "from" peers ports). */}}
{{- define "voxgate.rule" -}}
{{- if index . 1 }}
- {{ index . 0 }}:
    {{- toYaml (index . 1) | nindent 4 }}
  {{- with index . 2 }}
  ports:
    {{- include "voxgate.ports" . | trim | nindent 4 }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* What may reach the gateway, in whichever pod it is. */}}
{{- define "voxgate.ingressRules" -}}
{{- with .Values }}
{{- $clients := .networkPolicy.clients }}
{{- if .test.enabled }}
{{- $test := dict "podSelector" (dict "matchLabels" (include "voxgate.selectorLabels" (list $ "test") | fromYaml)) }}
{{- $clients = append $clients $test }}
{{- end }}
{{- include "voxgate.rule" (list "from" $clients (list .ports.http)) }}
{{- if .authorizer.enabled }}
{{- include "voxgate.rule" (list "from" .networkPolicy.authorizerClients (list .authorizer.port)) }}
{{- end }}
{{- include "voxgate.rule" (list "from" .networkPolicy.monitoring (list .ports.admin)) }}
{{- end }}
{{- end -}}

{{/* A namespace, as a selector. */}}
{{- define "voxgate.namespace" -}}
matchLabels:
  kubernetes.io/metadata.name: {{ . | quote }}
{{- end -}}

{{/* Where the TTS server's pods are. */}}
{{- define "voxgate.upstreamPeers" -}}
{{- with .Values -}}
{{- if .networkPolicy.upstream.peers -}}
{{- toYaml .networkPolicy.upstream.peers -}}
{{- else -}}
{{- $peer := dict -}}
{{- if .upstream.podLabels -}}
{{- $_ := set $peer "podSelector" (dict "matchLabels" .upstream.podLabels) -}}
{{- else -}}
{{- $_ := set $peer "podSelector" dict -}}
{{- end -}}
{{- with .upstream.namespace -}}
{{- $_ := set $peer "namespaceSelector" (include "voxgate.namespace" . | fromYaml) -}}
{{- end -}}
{{- toYaml (list $peer) -}}
{{- end -}}
{{- end -}}
{{- end -}}
