{{/* What is refused, in sentences; the schema has refused what it can see before. */}}
{{- define "voxgate.guards" -}}
{{- include "voxgate.guards.keys" . -}}
{{- include "voxgate.guards.upstream" . -}}
{{- include "voxgate.guards.ports" . -}}
{{- include "voxgate.guards.audit" . -}}
{{- include "voxgate.guards.shutdown" . -}}
{{- include "voxgate.guards.network" . -}}
{{- include "voxgate.guards.labels" . -}}
{{- with .Values.autoscaling -}}
{{- if gt (int .minReplicas) (int .maxReplicas) -}}
{{- fail "autoscaling.minReplicas is more than autoscaling.maxReplicas" -}}
{{- end -}}
{{- if and .enabled (not .targetCPUUtilizationPercentage) (not .metrics) -}}
{{- fail "autoscaling has nothing to go by: set autoscaling.targetCPUUtilizationPercentage or autoscaling.metrics" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Silence must not open the door. */}}
{{- define "voxgate.guards.keys" -}}
{{- with .Values -}}
{{- $callers := or .keys.existingSecret .keys.inline -}}
{{- if and .keys.existingSecret .keys.inline -}}
{{- fail "keys.inline stands beside keys.existingSecret: keep the Secret, and empty keys.inline" -}}
{{- end -}}
{{- if not (or $callers .deploymentKey.existingSecret) -}}
{{- fail "nobody could be let in: name a Secret with callers' keys in keys.existingSecret, or one with the deployment key in deploymentKey.existingSecret" -}}
{{- end -}}
{{- if and $callers .deploymentKey.existingSecret (not .auth.mode) -}}
{{- fail "there are callers' keys and a deployment key: set auth.mode to validate (callers need a key) or preconfigured (they need none)" -}}
{{- end -}}
{{- if and (eq .auth.mode "validate") (not $callers) -}}
{{- fail "auth.mode is validate, and there are no keys of callers: name their Secret in keys.existingSecret" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "voxgate.guards.upstream" -}}
{{- with .Values.upstream -}}
{{- if and (eq $.Values.mode "standalone") (not .host) -}}
{{- fail "upstream.host is empty: name the TTS server's Service" -}}
{{- end -}}
{{- $hosts := list .host -}}
{{- range .routes -}}{{- $hosts = append $hosts (.host | default "") -}}{{- end -}}
{{- range $hosts -}}
{{- if and (ne $.Values.mode "standalone") (not (has . (list "" "127.0.0.1" "[::1]"))) -}}
{{- fail (printf "upstream host %s is not in the pod: with mode %s the TTS server is at 127.0.0.1; leave the host empty" . $.Values.mode) -}}
{{- end -}}
{{- end -}}
{{- $prefixes := list -}}
{{- range .routes -}}
{{- if has .prefix $prefixes -}}{{- fail (printf "upstream.routes has the prefix %s twice" .prefix) -}}{{- end -}}
{{- $prefixes = append $prefixes .prefix -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "voxgate.guards.ports" -}}
{{- $own := list (int .Values.ports.http) (int .Values.ports.admin) -}}
{{- if ne (len (uniq $own)) 2 -}}
{{- fail "ports.http and ports.admin are the same: clients must not reach metrics" -}}
{{- end -}}
{{- range include "voxgate.upstreamPorts" . | fromYamlArray -}}
{{- if and (ne $.Values.mode "standalone") (has (int .) $own) -}}
{{- fail (printf "port %d is the TTS server's, which is in the same pod: give ports.http and ports.admin others" (int .)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "voxgate.guards.audit" -}}
{{- with .Values.audit -}}
{{- $default := ternary "counted" "blocking" (eq .volume.type "none") -}}
{{- if and .required (eq (.promise | default $default) "counted") -}}
{{- fail "audit.required names a copy, and nothing waits for one with the promise counted: set audit.promise to blocking or durable" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Six seconds: the audit trail has five after the drain. */}}
{{- define "voxgate.guards.shutdown" -}}
{{- with .Values.shutdown -}}
{{- $needed := add (int .preStopSleepSeconds) (int .drainSeconds) 6 -}}
{{- if and .gracePeriodSeconds (lt (int .gracePeriodSeconds) (int $needed)) -}}
{{- fail (printf "shutdown.gracePeriodSeconds is %d, and pods would be killed while they drain: it needs at least %d, six more than preStopSleepSeconds and drainSeconds together" (int .gracePeriodSeconds) (int $needed)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "voxgate.guards.network" -}}
{{- with .Values -}}
{{- $copies := or .audit.http.url (hasPrefix "t" .audit.syslog) -}}
{{- $closed := and (eq .mode "standalone") .networkPolicy.enabled -}}
{{- if and $closed $copies (not .networkPolicy.auditCopies.peers) (not .networkPolicy.extraEgress) -}}
{{- fail "the NetworkPolicy would keep copies of audit records in: name their receiver in networkPolicy.auditCopies, or a rule in networkPolicy.extraEgress" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What selects pods and objects would find others, or none. */}}
{{- define "voxgate.guards.labels" -}}
{{- $own := list "helm.sh/chart" -}}
{{- range list "name" "instance" "version" "component" "managed-by" -}}
{{- $own = append $own (printf "app.kubernetes.io/%s" .) -}}
{{- end -}}
{{- with .Values -}}
{{- range $value, $labels := dict "commonLabels" .commonLabels "podLabels" .podLabels "metrics.labels" .metrics.labels "alerts.labels" .alerts.labels "dashboard.labels" .dashboard.labels -}}
{{- range $label, $_ := $labels -}}
{{- if has $label $own -}}
{{- fail (printf "%s sets %s, which is the chart's own: choose another label" $value $label) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if hasKey .podAnnotations "checksum/voxgate-config" -}}
{{- fail "podAnnotations sets checksum/voxgate-config, which is the chart's own: it restarts pods when the configuration changes" -}}
{{- end -}}
{{- end -}}
{{- end -}}
