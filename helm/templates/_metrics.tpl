{{/* Where the metrics of this release are. */}}

{{/* The selector of its series, for alerts: `label="value",…` without braces. */}}
{{- define "voxgate.metricsSelector" -}}
{{- $name := include "voxgate.fullname" . -}}
{{- if .Values.alerts.selector -}}
{{ .Values.alerts.selector }}
{{- else if eq .Values.metrics.monitor "PodMonitor" -}}
job="{{ .Release.Namespace }}/{{ $name }}"
{{- else -}}
namespace="{{ .Release.Namespace }}",job="{{ $name }}-admin"
{{- end -}}
{{- end -}}
