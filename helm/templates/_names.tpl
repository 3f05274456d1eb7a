{{/* Names and labels. */}}

{{- define "voxgate.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "voxgate.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "voxgate.name" . -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels that select a component's pods. Call with (list . "gateway"). */}}
{{- define "voxgate.selectorLabels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "voxgate.name" $root | quote }}
app.kubernetes.io/instance: {{ $root.Release.Name | quote }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* Labels of every object. */}}
{{- define "voxgate.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/name: {{ include "voxgate.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{/* Name, namespace, labels and annotations of an object; call with (list . "suffix"), then labels and
annotations that it alone has, which come before those of all objects. */}}
{{- define "voxgate.metadata" -}}
{{- $root := index . 0 -}}
{{- $own := concat . (list dict dict) -}}
name: {{ printf "%s%s" (include "voxgate.fullname" $root) (index . 1) | quote }}
namespace: {{ $root.Release.Namespace | quote }}
{{ include "voxgate.objectMetadata" (list $root (index $own 2) (index $own 3)) }}
{{- end -}}

{{/* Labels and annotations, none twice; call with (list .), then labels and annotations as above. */}}
{{- define "voxgate.objectMetadata" -}}
{{- $root := index . 0 -}}
{{- $own := concat . (list dict dict) -}}
labels:
  {{- merge (include "voxgate.labels" $root | fromYaml) (index $own 1) $root.Values.commonLabels | toYaml | nindent 2 }}
{{- with merge dict (index $own 2) $root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Labels of the pods that the gateway runs in, whichever mode put it there. */}}
{{- define "voxgate.gatewayPods" -}}
{{- if eq .Values.mode "standalone" -}}
{{- include "voxgate.selectorLabels" (list . "gateway") -}}
{{- else if eq .Values.mode "sidecar" -}}
{{- toYaml .Values.upstream.podLabels -}}
{{- else -}}
{{ .Values.inject.label | quote }}: {{ .Values.inject.labelValue | quote }}
{{- end -}}
{{- end -}}

{{/* Other charts read `global` the same way: its registry replaces the image's own. */}}
{{- define "voxgate.image" -}}
{{- with .Values.image -}}
{{- with $.Values.global.imageRegistry | default .registry }}{{ . }}/{{ end -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The port of a pod that a Service leads to: by name, so that a changed number reaches old and new pods
during an update. In a sidecar by number, because some Kubernetes versions since 1.30 do not find the port
of a sidecar by name (kubernetes#128850). Call with (list . name number). */}}
{{- define "voxgate.targetPort" -}}
{{- eq (index . 0).Values.mode "standalone" | ternary (index . 1) (index . 2 | int) -}}
{{- end -}}
