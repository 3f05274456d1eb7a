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
{{- with .Values.probes }}
# Liveness does not use /readyz: with a full audit volume the gateway is not ready, and a restart would
# not free any space.
startupProbe:
  {{- include "voxgate.probe" "/livez" | nindent 2 }}
  periodSeconds: 1
  failureThreshold: {{ .startupSeconds }}
readinessProbe:
  {{- include "voxgate.probe" "/readyz" | nindent 2 }}
  periodSeconds: {{ .readinessPeriodSeconds }}
  failureThreshold: {{ .failureThreshold }}
livenessProbe:
  {{- include "voxgate.probe" "/livez" | nindent 2 }}
  periodSeconds: {{ .livenessPeriodSeconds }}
  failureThreshold: {{ .failureThreshold }}
{{- end }}
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

{{- define "voxgate.probe" -}}
httpGet:
  path: {{ . }}
  port: voxgate-admin
timeoutSeconds: 3
{{- end -}}

{{/* What Pod Security's `restricted` asks of a container, and a read-only root. */}}
{{- define "voxgate.securityContext" -}}
allowPrivilegeEscalation: false
capabilities:
  drop:
    - ALL
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* What all pods of the chart's own share. */}}
{{- define "voxgate.podSpec" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.serviceAccountName }}
serviceAccountName: {{ . | quote }}
{{- end }}
{{- with include "voxgate.pullSecrets" . | trim }}
imagePullSecrets:
  {{- . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  {{- with include "voxgate.fsGroup" . }}
  {{- . | nindent 2 }}
  {{- end }}
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* What lets the gateway read files of mode 0440 and write to a claim. Empty where no volume needs it. */}}
{{- define "voxgate.fsGroup" -}}
{{- $files := and (eq .Values.keys.fileMode "0440") (include "voxgate.files" . | fromYamlArray) -}}
{{- if or $files .Values.extraVolumes (eq .Values.audit.volume.type "persistentVolumeClaim") -}}
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
{{- end -}}
{{- end -}}

{{/* Secrets with registry credentials, as a pod lists them. */}}
{{- define "voxgate.pullSecrets" -}}
{{- range .Values.imagePullSecrets }}
- name: {{ . | quote }}
{{- end }}
{{- end -}}

{{- define "voxgate.gracePeriodSeconds" -}}
{{- with .Values.shutdown -}}
{{- .gracePeriodSeconds | default (add (int .preStopSleepSeconds) (int .drainSeconds) 10) | int -}}
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
resources:
  requests:
    cpu: 10m
    memory: 32Mi
  limits:
    memory: 64Mi
securityContext:
  {{- include "voxgate.securityContext" $root | nindent 2 }}
{{- if index . 4 }}
volumeMounts:
  - name: key
    mountPath: /etc/voxgate/key
    readOnly: true
{{- end }}
{{- end -}}
