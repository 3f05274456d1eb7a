{{/* What is refused, in sentences; the schema has refused what it can see before. */}}
{{- define "voxgate.guards" -}}
{{- include "voxgate.guards.names" . -}}
{{- include "voxgate.guards.keys" . -}}
{{- include "voxgate.guards.upstream" . -}}
{{- include "voxgate.guards.ports" . -}}
{{- include "voxgate.guards.audit" . -}}
{{- include "voxgate.guards.redis" . -}}
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

{{- define "voxgate.guards.names" -}}
{{- $name := include "voxgate.fullname" . -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $name) -}}
{{- fail (printf "%s cannot be the name of a Service, which begins with a letter and has no dots: set fullnameOverride" $name) -}}
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
{{- $there := list (ternary "stdout" "file" (eq .volume.type "none")) -}}
{{- if .stdout -}}{{- $there = append $there "stdout" -}}{{- end -}}
{{- if .syslog -}}{{- $there = append $there "syslog" -}}{{- end -}}
{{- if .http.url -}}{{- $there = append $there "http" -}}{{- end -}}
{{- range .required -}}
{{- if not (has . $there) -}}
{{- fail (printf "audit.required names %s, where no record goes: here it can be %s" . (join ", " $there)) -}}
{{- end -}}
{{- end -}}
{{- if and .required (not (has (first $there) .required)) -}}
{{- fail (printf "audit.required must name %s as well: the promise always binds it" (first $there)) -}}
{{- end -}}
{{- if and .caConfigMap (not (hasPrefix "tls://" .syslog)) (not (hasPrefix "https://" .http.url)) -}}
{{- fail "audit.caConfigMap means nothing without a receiver of copies at tls:// or https://" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "voxgate.guards.redis" -}}
{{- range $name := list "onFailure" "leaseSeconds" "namespace" -}}
{{- if and (get $.Values.limits $name) (not $.Values.redis.existingSecret) -}}
{{- fail (printf "limits.%s means nothing without Redis: name the Secret with its URL in redis.existingSecret" $name) -}}
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
{{- if and $closed (not .upstream.namespace) (not .networkPolicy.upstream.peers) (not .networkPolicy.extraEgress) -}}
{{- $hosts := list .upstream.host -}}
{{- range .upstream.routes -}}{{- $hosts = append $hosts (.host | default $.Values.upstream.host) -}}{{- end -}}
{{- range ternary (rest $hosts) $hosts (gt (len $hosts) 1) -}}
{{- $labels := splitList "." . -}}
{{- $address := or (hasPrefix "[" .) (regexMatch "^[0-9.]+$" .) -}}
{{- if and (gt (len $labels) 1) (not $address) (ne (index $labels 1) $.Release.Namespace) -}}
{{- fail (printf "the NetworkPolicy would keep the gateway from %s, which is not in the namespace %s: name its namespace in upstream.namespace, or its peers in networkPolicy.upstream" . $.Release.Namespace) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and (eq .mode "inject") .inject.namespaceSelector .lockUpstream.enabled -}}
{{- fail "lockUpstream closes pods of the release's namespace alone, and inject.namespaceSelector has others injected: install the chart in each namespace, or write their NetworkPolicies" -}}
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
