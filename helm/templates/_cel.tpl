{{/* The sidecar in CEL, made from the same definition as everywhere else. */}}

{{/* A value as a CEL expression; call with (list value "Object.spec.…"), the type that the API server
gives to a field. A map whose keys are free is a map literal, everything else an object. An object with
a field whose name CEL reserves is a map literal, too: its values are `dyn`, because a map literal has
values of one type. */}}
{{- define "voxgate.cel" -}}
{{- $value := index . 0 -}}
{{- $type := index . 1 -}}
{{- if kindIs "map" $value -}}
{{- $free := has (splitList "." $type | last) (list "limits" "requests" "matchLabels" "labels" "annotations" "volumeAttributes" "options" "userAnnotations") -}}
{{- $reserved := false -}}
{{- range $name, $_ := $value -}}
{{- if or (has $name (include "voxgate.celReserved" nil | splitList " ")) (not (regexMatch "^[A-Za-z_][A-Za-z0-9_]*$" $name)) -}}{{- $reserved = true -}}{{- end -}}
{{- end -}}
{{- $fields := list -}}
{{- range $name, $field := $value -}}
{{- if $free -}}
{{- $fields = append $fields (printf "%s: %s" ($name | toJson) ($field | toString | toJson)) -}}
{{- else if $reserved -}}
{{- $fields = append $fields (printf "%s: dyn(%s)" ($name | toJson) (include "voxgate.cel" (list $field (printf "%s.%s" $type $name)))) -}}
{{- else -}}
{{- $fields = append $fields (printf "%s: %s" $name (include "voxgate.cel" (list $field (printf "%s.%s" $type $name)))) -}}
{{- end -}}
{{- end -}}
{{- if not (or $free $reserved) -}}{{ $type }}{{- end -}}
{ {{- join ", " $fields -}} }
{{- else if kindIs "slice" $value -}}
{{- $items := list -}}
{{- range $value -}}{{- $items = append $items (include "voxgate.cel" (list . $type)) -}}{{- end -}}
[ {{- join ", " $items -}} ]
{{- else if kindIs "float64" $value -}}
{{ int64 $value }}
{{- else -}}
{{ toJson $value }}
{{- end -}}
{{- end -}}

{{/* Words that are no names of fields in CEL (cel-spec, "Syntax"). */}}
{{- define "voxgate.celReserved" -}}
as break const continue else false for function if import in let loop namespace null package return true var void while
{{- end -}}

{{/* The version of the API that the cluster has. */}}
{{- define "voxgate.mutatingVersion" -}}
{{- $kind := "MutatingAdmissionPolicy" -}}
{{- if .Capabilities.APIVersions.Has (printf "admissionregistration.k8s.io/v1/%s" $kind) -}}
admissionregistration.k8s.io/v1
{{- else if .Capabilities.APIVersions.Has (printf "admissionregistration.k8s.io/v1beta1/%s" $kind) -}}
admissionregistration.k8s.io/v1beta1
{{- else -}}
{{- fail (printf "mode is inject, which needs %s, but this cluster (Kubernetes %s) does not serve it. Upgrade to 1.36, enable the feature gate in 1.34 or 1.35, or use mode sidecar instead. To render without a cluster, add --api-versions admissionregistration.k8s.io/v1/%s." $kind .Capabilities.KubeVersion.Version $kind) -}}
{{- end -}}
{{- end -}}

{{/* The namespaces of both policies. */}}
{{- define "voxgate.injectNamespaces" -}}
namespaceSelector:
  {{- with .Values.inject.namespaceSelector }}
  {{- toYaml . | nindent 2 }}
  {{- else }}
  {{- include "voxgate.namespace" .Release.Namespace | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* A key in a JSON Pointer (RFC 6901, section 3). */}}
{{- define "voxgate.pointer" -}}
{{- . | replace "~" "~0" | replace "/" "~1" -}}
{{- end -}}
