{{/* The gateway's container: the one definition that all modes share. */}}
{{- define "voxgate.container" -}}
{{- include "voxgate.guards" . -}}
name: voxgate
image: {{ include "voxgate.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args:
  - serve
env:
  {{- include "voxgate.env" . | trim | nindent 2 }}
ports:
  - name: voxgate
    containerPort: {{ .Values.ports.http }}
    protocol: TCP
  - name: voxgate-admin
    containerPort: {{ .Values.ports.admin }}
    protocol: TCP
  {{- if .Values.authorizer.enabled }}
  - name: authorizer
    containerPort: {{ .Values.authorizer.port }}
    protocol: TCP
  {{- end }}
# Liveness does not use /readyz: with a full audit volume the gateway is not ready, and a restart would
# not free any space.
startupProbe:
  {{- include "voxgate.probe" (list . "/livez" .Values.startupProbe 1 60) | nindent 2 }}
readinessProbe:
  {{- include "voxgate.probe" (list . "/readyz" .Values.readinessProbe 5 3) | nindent 2 }}
livenessProbe:
  {{- include "voxgate.probe" (list . "/livez" .Values.livenessProbe 10 3) | nindent 2 }}
{{- with .Values.shutdown.preStopSleepSeconds }}
lifecycle:
  preStop:
    sleep:
      seconds: {{ . }}
{{- end }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  {{- include "voxgate.securityContext" . | nindent 2 }}
volumeMounts:
  {{- include "voxgate.volumeMounts" . | trim | nindent 2 }}
{{- end -}}

{{/* Call with (list root path fields period failures); the fields are the user's. The kubelet does not
verify the certificate. */}}
{{- define "voxgate.probe" -}}
{{- $get := dict "path" (index . 1) "port" "voxgate-admin" -}}
{{- if (index . 0).Values.tls.admin.existingSecret -}}{{- $_ := set $get "scheme" "HTTPS" -}}{{- end -}}
{{- $probe := dict "httpGet" $get "timeoutSeconds" 3 "periodSeconds" (index . 3) "failureThreshold" (index . 4) -}}
{{- merge (deepCopy (index . 2)) $probe | toYaml -}}
{{- end -}}

{{/* What Pod Security's `restricted` asks of a container, and a read-only root. OpenShift's `restricted-v2`
assigns the user and the group. */}}
{{- define "voxgate.securityContext" -}}
{{- $context := dict "allowPrivilegeEscalation" false "capabilities" (dict "drop" (list "ALL")) "privileged" false "readOnlyRootFilesystem" true "runAsNonRoot" true "seccompProfile" (dict "type" "RuntimeDefault") -}}
{{- if not .Values.openshift -}}
{{- $_ := set $context "runAsUser" 65532 -}}
{{- $_ := set $context "runAsGroup" 65532 -}}
{{- end -}}
{{- mergeOverwrite $context (deepCopy .Values.securityContext) | toYaml -}}
{{- end -}}

{{/* What all pods of the chart's own share. */}}
{{- define "voxgate.podSpec" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with include "voxgate.serviceAccountName" . }}
serviceAccountName: {{ . | quote }}
{{- end }}
{{- with include "voxgate.pullSecrets" . | trim }}
imagePullSecrets:
  {{- . | nindent 2 }}
{{- end }}
securityContext:
  {{- include "voxgate.podSecurityContext" . | nindent 2 }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "voxgate.podSecurityContext" -}}
{{- $context := dict "runAsNonRoot" true "seccompProfile" (dict "type" "RuntimeDefault") -}}
{{- if not .Values.openshift -}}
{{- $_ := set $context "runAsUser" 65532 -}}
{{- $_ := set $context "runAsGroup" 65532 -}}
{{- end -}}
{{- $context = mergeOverwrite $context (include "voxgate.fsGroup" . | fromYaml) (deepCopy .Values.podSecurityContext) -}}
{{- toYaml $context -}}
{{- end -}}

{{- define "voxgate.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (ternary (include "voxgate.fullname" .) "" .Values.serviceAccount.create) -}}
{{- end -}}

{{/* What lets the gateway read files of mode 0440 and write to a claim. Empty where no volume needs it. */}}
{{- define "voxgate.fsGroup" -}}
{{- $files := and (eq .Values.keys.fileMode "0440") (include "voxgate.files" . | fromYamlArray) -}}
{{- if .Values.openshift -}}
{{- else if or $files .Values.extraVolumes (eq .Values.audit.volume.type "persistentVolumeClaim") -}}
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
{{- end -}}
{{- end -}}

{{/* Secrets with registry credentials, as a pod lists them. */}}
{{- define "voxgate.pullSecrets" -}}
{{- $names := .Values.imagePullSecrets -}}
{{- range .Values.global.imagePullSecrets -}}
{{- $names = append $names (kindIs "map" . | ternary (kindIs "map" . | ternary . dict).name .) -}}
{{- end -}}
{{- range uniq $names }}
- name: {{ . | quote }}
{{- end }}
{{- end -}}

{{- define "voxgate.gracePeriodSeconds" -}}
{{- with .Values.shutdown -}}
{{- .gracePeriodSeconds | default (add (int .preStopSleepSeconds) (int .drainSeconds) 10) | int -}}
{{- end -}}
{{- end -}}

{{/* Empty where an autoscaler sets the number of pods. If the Deployment exists, it is then the present number:
if an upgrade removed the field, the API server would set one replica. */}}
{{- define "voxgate.replicas" -}}
{{- if or .Values.autoscaling.enabled (kindIs "invalid" .Values.replicaCount) -}}
{{- $live := (lookup "apps/v1" "Deployment" .Release.Namespace (include "voxgate.fullname" .)).spec | default dict -}}
{{- if hasKey $live "replicas" -}}{{ int $live.replicas }}{{- end -}}
{{- else -}}
{{ int .Values.replicaCount }}
{{- end -}}
{{- end -}}

{{/* Not empty where the Deployment may have several pods. In other modes, each TTS server has its own gateway. */}}
{{- define "voxgate.severalReplicas" -}}
{{- with .Values -}}
{{- if ne .mode "standalone" -}}
{{- else if .autoscaling.enabled -}}
{{- if gt (int .autoscaling.maxReplicas) 1 -}}yes{{- end -}}
{{- else if or (kindIs "invalid" .replicaCount) (gt (int .replicaCount) 1) -}}yes
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Restarts pods when the configuration changes. Keys are no part of it: they are followed. */}}
{{- define "voxgate.configAnnotations" -}}
checksum/voxgate-config: {{ list (include "voxgate.env" .) (include "voxgate.policyText" .) | toJson | sha256sum }}
{{- end -}}

{{/* Not empty where the old pod must go before the new one can mount the volume. */}}
{{- define "voxgate.oneWriter" -}}
{{- with .Values.audit.volume -}}
{{- and (eq .type "persistentVolumeClaim") (ne .accessMode "ReadWriteMany") | ternary "yes" "" -}}
{{- end -}}
{{- end -}}

{{/* A container that asks the gateway as a client would, with the image that is there anyway. Call
with (list . name url expected with-key). */}}
{{- define "voxgate.probeContainer" -}}
{{- $root := index . 0 -}}
name: {{ index . 1 }}
image: {{ include "voxgate.image" $root | quote }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
args:
  - probe
  - --method
  - {{ $root.Values.test.method }}
  - --url
  - {{ index . 2 | quote }}
  - --dialect
  - {{ $root.Values.dialect }}
  - --expect
  - {{ index . 3 | quote }}
  {{- if index . 4 }}
  - --key-file
  - /etc/voxgate/key/token
  {{- end }}
  {{- if $root.Values.tls.existingSecret }}
  - --server-name
  - {{ $root.Values.test.tls.serverName | quote }}
  {{- if $root.Values.test.tls.caConfigMap }}
  - --ca-file
  - /etc/voxgate/ca/ca.crt
  {{- end }}
  {{- end }}
resources:
  {{- toYaml $root.Values.test.resources | nindent 2 }}
securityContext:
  {{- include "voxgate.securityContext" $root | nindent 2 }}
{{- $hasCa := and $root.Values.tls.existingSecret $root.Values.test.tls.caConfigMap }}
{{- if or (index . 4) $hasCa }}
volumeMounts:
  {{- if index . 4 }}
  - name: key
    mountPath: /etc/voxgate/key
    readOnly: true
  {{- end }}
  {{- if $hasCa }}
  - name: ca
    mountPath: /etc/voxgate/ca
    readOnly: true
  {{- end }}
{{- end }}
{{- end -}}
