{{/* What another chart includes, with the context `.Subcharts.voxgate`: see README.md. */}}

{{/* A native sidecar: a list item for `initContainers`, where it belongs first. */}}
{{- define "voxgate.sidecar.container" -}}
- {{ include "voxgate.sidecar.definition" . | nindent 2 | trim }}
{{- end -}}

{{- define "voxgate.sidecar.definition" -}}
{{ include "voxgate.container" . }}
restartPolicy: Always
{{- end -}}

{{- define "voxgate.sidecar.volumes" -}}
{{- include "voxgate.volumes" . | trim -}}
{{- end -}}

{{- define "voxgate.sidecar.podSecurityContext" -}}
{{- include "voxgate.fsGroup" . | default "{}" -}}
{{- end -}}

{{- define "voxgate.sidecar.podAnnotations" -}}
{{- include "voxgate.configAnnotations" . -}}
{{- with .Values.podAnnotations }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* A list; empty without `imagePullSecrets`. */}}
{{- define "voxgate.sidecar.imagePullSecrets" -}}
{{- include "voxgate.pullSecrets" . | trim | default "[]" -}}
{{- end -}}

{{- define "voxgate.sidecar.gracePeriodSeconds" -}}
{{- include "voxgate.gracePeriodSeconds" . -}}
{{- end -}}
