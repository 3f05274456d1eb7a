{{/* Checks across values, each with a sentence that names the value and the fix. values.schema.json
checks each value alone, and runs first. */}}
{{- define "voxgate.guards" -}}
{{- /* Several templates ask for them: once is enough for one set of values. */}}
{{- if not (hasKey . "voxgateChecked") -}}
{{- $_ := set . "voxgateChecked" true -}}
{{- include "voxgate.guards.renamed" . -}}
{{- include "voxgate.guards.forms" . -}}
{{- include "voxgate.guards.numbers" . -}}
{{- include "voxgate.guards.names" . -}}
{{- include "voxgate.guards.keys" . -}}
{{- include "voxgate.guards.keyWatch" . -}}
{{- include "voxgate.guards.upstream" . -}}
{{- include "voxgate.guards.ports" . -}}
{{- include "voxgate.guards.audit" . -}}
{{- include "voxgate.guards.redis" . -}}
{{- include "voxgate.guards.shutdown" . -}}
{{- include "voxgate.guards.network" . -}}
{{- include "voxgate.guards.labels" . -}}
{{- include "voxgate.guards.routes" . -}}
{{- include "voxgate.guards.service" . -}}
{{- include "voxgate.guards.scaling" . -}}
{{- end -}}
{{- end -}}

{{/* Fails in `helm lint` as well, which only logs what `fail` says. Call with the message. A check that
depends on the release or the cluster calls `fail` itself, because `helm lint` knows neither; so does one
that the default values do not pass. */}}
{{- define "voxgate.refuse" -}}
{{- fail . -}}
{{- include (printf "(none, refused: %s)" .) . -}}
{{- end -}}

{{- define "voxgate.guards.scaling" -}}
{{- with .Values.autoscaling -}}
{{- if gt (int .minReplicas) (int .maxReplicas) -}}
{{- fail (printf "autoscaling.minReplicas (%d) is greater than autoscaling.maxReplicas (%d). Lower minReplicas or raise maxReplicas." (int .minReplicas) (int .maxReplicas)) -}}
{{- end -}}
{{- if and .enabled (not .targetCPUUtilizationPercentage) (not .metrics) -}}
{{- fail "autoscaling.enabled needs a metric. Set autoscaling.targetCPUUtilizationPercentage or autoscaling.metrics." -}}
{{- end -}}
{{- end -}}
{{- with .Values -}}
{{- if ne .mode "standalone" -}}
{{- if .autoscaling.enabled -}}
{{- include "voxgate.refuse" (printf "autoscaling.enabled is true, but mode %s creates no Deployment. Set autoscaling.enabled to false, and scale the TTS server's workload." .mode) -}}
{{- end -}}
{{- if and .podLabels (eq .mode "sidecar") -}}
{{- include "voxgate.refuse" "podLabels is set, but in mode sidecar the chart of the TTS server creates the pods. Add the labels there, and leave podLabels empty." -}}
{{- end -}}
{{- range $value, $set := dict "affinity" .affinity "priorityClassName" .priorityClassName "extraInitContainers" .extraInitContainers "hostAliases" .hostAliases "dnsConfig" .dnsConfig "deploymentAnnotations" .deploymentAnnotations "serviceAccount.create" .serviceAccount.create -}}
{{- if $set -}}
{{- include "voxgate.refuse" (printf "%s is set, but mode %s creates no pods. Set it in the TTS server's workload, and leave %s empty." $value $.Values.mode $value) -}}
{{- end -}}
{{- end -}}
{{- if .extraContainers -}}
{{- include "voxgate.refuse" (printf "extraContainers is set, but mode %s creates no pods. Add the containers to the TTS server's workload, and leave extraContainers empty." .mode) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Old names. The schema lets them pass, so that the message can name the new one. */}}
{{- define "voxgate.guards.renamed" -}}
{{- range list
  "keys.secretKey keys.existingSecret"
  "deploymentKey.secretKey deploymentKey.existingSecret"
  "policy.configMapKey policy.existingConfigMap"
  "upstream.tls.caConfigMapKey upstream.tls.caConfigMap"
  "upstream.tls.crlConfigMapKey upstream.tls.crlConfigMap"
  "tls.clientCaConfigMapKey tls.clientCaConfigMap"
  "tls.clientCrlConfigMapKey tls.clientCrlConfigMap"
  "traces.otlp.secretKey traces.otlp.existingSecret"
  "traces.otlp.caConfigMapKey traces.otlp.caConfigMap"
  "tokens.signingKey.secretKey tokens.signingKey.existingSecret"
  "tokens.secondKey.secretKey tokens.secondKey.existingSecret"
  "tokens.issuersConfigMapKey tokens.issuersConfigMap"
  "redis.secretKey redis.existingSecret"
  "redis.caConfigMapKey redis.caConfigMap"
  "audit.signingKey.secretKey audit.signingKey.existingSecret"
  "audit.pepper.secretKey audit.pepper.existingSecret"
  "audit.http.secretKey audit.http.existingSecret"
  "audit.caConfigMapKey audit.caConfigMap"
  "test.tls.caConfigMapKey test.tls.caConfigMap"
  "test.key.secretKey test.key.existingSecret"
-}}
{{- $names := splitList " " . -}}
{{- $old := $.Values -}}
{{- range splitList "." (first $names) -}}{{- $old = get $old . -}}{{- end -}}
{{- $reference := $.Values -}}
{{- range splitList "." (last $names) -}}{{- $reference = get $reference . -}}{{- end -}}
{{- if $old -}}
{{- include "voxgate.refuse" (printf "%s has a new form. Set %s to %s/%s instead, and remove %s." (first $names) (last $names) ($reference | default "NAME") (toString $old) (first $names)) -}}
{{- end -}}
{{- end -}}
{{- if hasKey .Values "serviceAccountName" -}}
{{- include "voxgate.refuse" "serviceAccountName has a new name. Set serviceAccount.name instead." -}}
{{- end -}}
{{- if hasKey .Values "probes" -}}
{{- include "voxgate.refuse" "probes has new names. Set fields of startupProbe, readinessProbe and livenessProbe instead: failureThreshold in place of probes.failureThreshold and probes.startupSeconds, periodSeconds in place of probes.readinessPeriodSeconds and probes.livenessPeriodSeconds." -}}
{{- end -}}
{{- range $old, $new := dict "scaleDownStabilizationSeconds" "stabilizationWindowSeconds" "scaleDownPeriodSeconds" "policies" -}}
{{- if hasKey $.Values.autoscaling $old -}}
{{- include "voxgate.refuse" (printf "autoscaling.%s has a new name. Set autoscaling.behavior.scaleDown.%s instead." $old $new) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Numbers that may be empty, with their range. A schema could refuse other text only in words that name
neither: here is the sentence. */}}
{{- define "voxgate.guards.numbers" -}}
{{- range list
  "upstream.resolveSeconds 1 86400"
  "upstream.connectionAgeSeconds 0 86400"
  "traces.otlp.timeoutMilliseconds 1 300000"
  "timeouts.connectSeconds 1 86400"
  "timeouts.upstreamSeconds 1 86400"
  "timeouts.upstreamIdleSeconds 0 86400"
  "timeouts.tunnelIdleSeconds 0 86400"
  "timeouts.requestSeconds 0 86400"
  "timeouts.headerReadSeconds 1 86400"
  "timeouts.clientIdleSeconds 1 86400"
  "speech.bodyInspectKiB 1 10000000"
  "speech.bodyHeldMiB 1 10000000"
  "tokens.singleUseMax 1 10000000"
  "limits.burst 1 4294967295"
  "limits.concurrency 1 4294967295"
  "limits.upstreamConcurrency 1 4294967295"
  "limits.queue 0 100000"
  "limits.queueTimeoutSeconds 1 3600"
  "limits.authFailures 0 4294967295"
  "limits.firstMessageConnections 0 10000000"
  "limits.connectionsPerClient 1 10000000"
  "limits.leaseSeconds 1 86400"
  "revisionHistoryLimit 0 1000"
  "minReadySeconds 0 3600"
  "shutdown.gracePeriodSeconds 1 172800"
  "service.nodePort 1 65535"
  "metrics.keys 0 10000000"
-}}
{{- $number := splitList " " . -}}
{{- $value := $.Values -}}
{{- range splitList "." (first $number) -}}{{- $value = get $value . -}}{{- end -}}
{{- if and (kindIs "string" $value) $value -}}
{{- include "voxgate.refuse" (printf "%s is %s, but it must be a whole number. Set it to a number from %s to %s, without quotes and without a unit, or leave it empty." (first $number) $value (index $number 1) (index $number 2)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "voxgate.guards.names" -}}
{{- $name := include "voxgate.fullname" . -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $name) -}}
{{- fail (printf "%s is not a valid Service name: it must begin with a letter and contain no dots. Set fullnameOverride to a valid name." $name) -}}
{{- end -}}
{{- end -}}

{{/* The chart never guesses whether callers need a key. */}}
{{- define "voxgate.guards.keys" -}}
{{- with .Values -}}
{{- $callers := include "voxgate.callersKeys" $ -}}
{{- $deployment := or .deploymentKey.existingSecret .deploymentKey.file -}}
{{- if and .keys.existingSecret .keys.inline -}}
{{- fail "keys.inline and keys.existingSecret are both set. Keep keys.existingSecret, and leave keys.inline empty." -}}
{{- end -}}
{{- if and .keys.file (or .keys.existingSecret .keys.inline) -}}
{{- include "voxgate.refuse" "keys.file is set, and keys.existingSecret or keys.inline as well. Keep one, and leave the others empty." -}}
{{- end -}}
{{- if and .deploymentKey.file .deploymentKey.existingSecret -}}
{{- include "voxgate.refuse" "deploymentKey.file and deploymentKey.existingSecret are both set. Keep one, and leave the other empty." -}}
{{- end -}}
{{- /* A watch reads each keys file of the Secret, and needs its plain name. */}}
{{- if and (eq (.keys.source | default "mount") "watch") (contains "/" .keys.existingSecret) -}}
{{- include "voxgate.refuse" (printf "keys.existingSecret is %s, but keys.source watch reads every keys file in the Secret. Set keys.existingSecret to %s." .keys.existingSecret (splitList "/" .keys.existingSecret | first)) -}}
{{- end -}}
{{- if not (or $callers $deployment) -}}
{{- fail "No keys are set, so every request would be refused. Set keys.existingSecret to the Secret with the callers' keys, or deploymentKey.existingSecret to the Secret with the deployment key." -}}
{{- end -}}
{{- if and $callers $deployment (not .auth.mode) -}}
{{- fail "auth.mode is empty, but callers' keys and a deployment key are both set. Set auth.mode to validate (callers need a key) or preconfigured (callers need no key)." -}}
{{- end -}}
{{- if and (eq .auth.mode "validate") (not $callers) -}}
{{- fail "auth.mode is validate, but no callers' keys are set. Set keys.existingSecret to the Secret with the callers' keys." -}}
{{- end -}}
{{- if and (eq .auth.mode "preconfigured") (not $deployment) -}}
{{- include "voxgate.refuse" "auth.mode is preconfigured, but deploymentKey.existingSecret is empty. Set it to the Secret with the key for the TTS server." -}}
{{- end -}}
{{- $vendors := list "rime" "supertone" "smallest" "kugel" "inworld" -}}
{{- if and $deployment (not (has .dialect $vendors)) -}}
{{- $value := ternary "deploymentKey.existingSecret" "deploymentKey.file" (empty .deploymentKey.file) -}}
{{- include "voxgate.refuse" (printf "%s is set, but dialect %s has no deployment key. Leave it empty, or set dialect to one of: %s." $value .dialect (join ", " $vendors)) -}}
{{- end -}}
{{- if and .policy.inline .policy.existingConfigMap -}}
{{- include "voxgate.refuse" "policy.inline and policy.existingConfigMap are both set. Keep one, and leave the other empty." -}}
{{- end -}}
{{- if and .policy.preset .policy.existingConfigMap -}}
{{- include "voxgate.refuse" "policy.preset and policy.existingConfigMap are both set. Leave policy.preset empty, and put its rules into the ConfigMap." -}}
{{- end -}}
{{- if and .policy.preset (not (has .dialect (list "openai" "auto"))) -}}
{{- include "voxgate.refuse" (printf "policy.preset is set, but dialect is %s. The presets are for servers that are compatible with OpenAI: set dialect to openai." .dialect) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "voxgate.guards.upstream" -}}
{{- if and .Values.metrics.tlsConfig (not .Values.tls.admin.existingSecret) -}}
{{- include "voxgate.refuse" "metrics.tlsConfig is set, but the admin listener speaks no TLS. Set tls.admin.existingSecret, or leave metrics.tlsConfig empty." -}}
{{- end -}}
{{- with .Values.upstream -}}
{{- if and (eq $.Values.mode "standalone") (not .host) -}}
{{- fail "upstream.host is empty. Set it to the name of the TTS server's Service." -}}
{{- end -}}
{{- if not .podLabels -}}
{{- if eq $.Values.mode "sidecar" -}}
{{- include "voxgate.refuse" "upstream.podLabels is empty, but mode sidecar needs it to select the pods. Set it to the labels of the TTS server's pods." -}}
{{- else if and (eq $.Values.mode "standalone") $.Values.lockUpstream.enabled -}}
{{- include "voxgate.refuse" "upstream.podLabels is empty, but lockUpstream.enabled needs it to select the pods. Set it to the labels of the TTS server's pods." -}}
{{- end -}}
{{- end -}}
{{- $hosts := list .host -}}
{{- range .routes -}}{{- $hosts = append $hosts (.host | default "") -}}{{- end -}}
{{- range $hosts -}}
{{- if and (ne $.Values.mode "standalone") (not (has . (list "" "127.0.0.1" "[::1]"))) -}}
{{- fail (printf "upstream.host (or a host in upstream.routes) is %s, but in mode %s the TTS server is in the same pod, at 127.0.0.1. Leave the host empty." . $.Values.mode) -}}
{{- end -}}
{{- end -}}
{{- $schemes := list -}}
{{- range .routes | default (list (dict)) -}}{{- $schemes = append $schemes (.scheme | default $.Values.upstream.scheme) -}}{{- end -}}
{{- $tls := .tls -}}
{{- range list "caConfigMap" "crlConfigMap" "serverName" "existingSecret" -}}
{{- if and (get $tls .) (not (has "https" $schemes)) -}}
{{- include "voxgate.refuse" (printf "upstream.tls.%s is set, but no TTS server has the scheme https. Set upstream.scheme to https, or leave upstream.tls.%s empty." . .) -}}
{{- end -}}
{{- end -}}
{{- $prefixes := list -}}
{{- range .routes -}}
{{- if has .prefix $prefixes -}}{{- fail (printf "upstream.routes has the prefix %s twice. Remove one of the two entries." .prefix) -}}{{- end -}}
{{- $prefixes = append $prefixes .prefix -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "voxgate.guards.ports" -}}
{{- $own := list (int .Values.ports.http) (int .Values.ports.admin) -}}
{{- if ne (len (uniq $own)) 2 -}}
{{- fail "ports.http and ports.admin are the same port. Set ports.admin to another one: clients must not reach metrics." -}}
{{- end -}}
{{- if .Values.authorizer.enabled -}}
{{- if has (int .Values.authorizer.port) $own -}}
{{- fail "authorizer.port is also ports.http or ports.admin. Set authorizer.port to another one." -}}
{{- end -}}
{{- if not .Values.proxies.trusted -}}
{{- fail "authorizer.enabled needs proxies.trusted. Set it to the networks of the proxies that ask." -}}
{{- end -}}
{{- $own = append $own (int .Values.authorizer.port) -}}
{{- end -}}
{{- range include "voxgate.upstreamPorts" . | fromYamlArray -}}
{{- if and (ne $.Values.mode "standalone") (has (int .) $own) -}}
{{- fail (printf "Port %d is the TTS server's port, and the gateway runs in the same pod. Set ports.http, ports.admin and authorizer.port to other ports." (int .)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "voxgate.guards.audit" -}}
{{- with .Values.audit -}}
{{- $default := ternary "counted" "blocking" (eq .volume.type "none") -}}
{{- if and .required (eq (.promise | default $default) "counted") -}}
{{- fail "audit.required is set, but audit.promise counted does not wait for any record. Set audit.promise to blocking or durable." -}}
{{- end -}}
{{- $there := list (ternary "stdout" "file" (eq .volume.type "none")) -}}
{{- if .stdout -}}{{- $there = append $there "stdout" -}}{{- end -}}
{{- if .syslog -}}{{- $there = append $there "syslog" -}}{{- end -}}
{{- if .http.url -}}{{- $there = append $there "http" -}}{{- end -}}
{{- range .required -}}
{{- if not (has . $there) -}}
{{- fail (printf "audit.required names %s, but no audit records are sent there. Configure that copy, or use only: %s." . (join ", " $there)) -}}
{{- end -}}
{{- end -}}
{{- if and .required (not (has (first $there) .required)) -}}
{{- fail (printf "audit.required does not name %s, which is always required. Add %s to audit.required." (first $there) (first $there)) -}}
{{- end -}}
{{- if and .caConfigMap (not (hasPrefix "tls://" .syslog)) (not (hasPrefix "https://" .http.url)) -}}
{{- fail "audit.caConfigMap is set, but no copy is sent by TLS. Set audit.syslog to tls://… or audit.http.url to https://…, or leave audit.caConfigMap empty." -}}
{{- end -}}
{{- if and .http.existingSecret (not .http.url) -}}
{{- include "voxgate.refuse" "audit.http.existingSecret is set, but audit.http.url is empty. Set audit.http.url to the collector's URL, or leave audit.http.existingSecret empty." -}}
{{- end -}}
{{- end -}}
{{- include "voxgate.guards.auditVolume" . -}}
{{- end -}}

{{- define "voxgate.guards.auditVolume" -}}
{{- with .Values.audit -}}
{{- if eq .volume.type "none" -}}
{{- if eq .promise "durable" -}}
{{- include "voxgate.refuse" "audit.promise is durable, but there is no volume to sync records to. Set audit.volume.type to persistentVolumeClaim or emptyDir, or audit.promise to blocking." -}}
{{- end -}}
{{- range $value, $set := dict "audit.segment" .segment "audit.retention" .retention "audit.retentionShare" .retentionShare "audit.timeStamps.url" .timeStamps.url "audit.signingKey.existingSecret" .signingKey.existingSecret "audit.stdout" .stdout -}}
{{- if $set -}}
{{- include "voxgate.refuse" (printf "%s is set, but there is no volume for the audit log. Set audit.volume.type to persistentVolumeClaim or emptyDir, or remove %s." $value $value) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and (eq .volume.type "emptyDir") (not .retention) -}}
{{- include "voxgate.refuse" "audit.retention is empty, so the log would fill the emptyDir and the pod would be evicted. Set audit.retention, such as 30d." -}}
{{- end -}}
{{- end -}}
{{- with .Values -}}
{{- if eq .audit.volume.type "persistentVolumeClaim" -}}
{{- if ne .keys.fileMode "0440" -}}
{{- include "voxgate.refuse" (printf "keys.fileMode is %s, but a persistentVolumeClaim needs the pod's fsGroup. Set keys.fileMode to \"0440\"." .keys.fileMode) -}}
{{- end -}}
{{- if and (ne .mode "standalone") (ne .audit.volume.accessMode "ReadWriteMany") -}}
{{- include "voxgate.refuse" (printf "audit.volume.accessMode is %s, but in mode %s several pods may share the claim. Set audit.volume.accessMode to ReadWriteMany." .audit.volume.accessMode .mode) -}}
{{- end -}}
{{- if and (eq .mode "standalone") (has .audit.volume.accessMode (list "ReadWriteOnce" "ReadWriteOncePod")) -}}
{{- if kindIs "invalid" .replicaCount -}}
{{- /* `helm lint` keeps the default of a value that is null. */}}
{{- fail (printf "replicaCount is null, but only one pod can use a claim with audit.volume.accessMode %s. Set replicaCount to 1, or audit.volume.accessMode to ReadWriteMany." .audit.volume.accessMode) -}}
{{- end -}}
{{- if gt (int .replicaCount) 1 -}}
{{- include "voxgate.refuse" (printf "replicaCount is %d, but only one pod can use a claim with audit.volume.accessMode %s. Set replicaCount to 1, or audit.volume.accessMode to ReadWriteMany." (int .replicaCount) .audit.volume.accessMode) -}}
{{- end -}}
{{- if .autoscaling.enabled -}}
{{- include "voxgate.refuse" (printf "autoscaling.enabled is true, but only one pod can use a claim with audit.volume.accessMode %s. Set autoscaling.enabled to false, or audit.volume.accessMode to ReadWriteMany." .audit.volume.accessMode) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "voxgate.guards.redis" -}}
{{- range $name := list "onFailure" "leaseSeconds" "namespace" -}}
{{- if and (get $.Values.limits $name) (not $.Values.redis.existingSecret) -}}
{{- fail (printf "limits.%s is set, but redis.existingSecret is empty. Set redis.existingSecret to the Secret with the URL of Redis, or leave limits.%s empty." $name $name) -}}
{{- end -}}
{{- end -}}
{{- with .Values -}}
{{- if and .redis.caConfigMap (not .redis.existingSecret) -}}
{{- include "voxgate.refuse" "redis.caConfigMap is set, but redis.existingSecret is empty. Set redis.existingSecret to the Secret with the URL of Redis, or leave redis.caConfigMap empty." -}}
{{- end -}}
{{- if and .limits.perReplica .redis.existingSecret -}}
{{- include "voxgate.refuse" "limits.perReplica is true, but redis.existingSecret is set, so replicas share their limits. Set limits.perReplica to false, or leave redis.existingSecret empty." -}}
{{- end -}}
{{- if and (not .redis.existingSecret) (not .limits.perReplica) (include "voxgate.severalReplicas" $) -}}
{{- range $name := list "rate" "concurrency" "upstreamConcurrency" -}}
{{- if get $.Values.limits $name -}}
{{- include "voxgate.refuse" (printf "limits.%s is set, but without Redis each replica applies it for itself: together they allow a multiple. Set redis.existingSecret to share the limit, or limits.perReplica to true if each replica may allow as much." $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .limits.burst (not .limits.rate) -}}
{{- include "voxgate.refuse" "limits.burst is set, but limits.rate is empty. Set limits.rate, such as 50/s, or leave limits.burst empty." -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Six seconds: after the drain, the gateway writes audit records for up to five seconds. */}}
{{- define "voxgate.guards.shutdown" -}}
{{- with .Values.shutdown -}}
{{- $needed := add (int .preStopSleepSeconds) (int .drainSeconds) 6 -}}
{{- if and .gracePeriodSeconds (lt (int .gracePeriodSeconds) (int $needed)) -}}
{{- fail (printf "shutdown.gracePeriodSeconds is %d, so Kubernetes would kill pods while they drain. Set it to at least %d: six more than preStopSleepSeconds and drainSeconds together." (int .gracePeriodSeconds) (int $needed)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "voxgate.guards.network" -}}
{{- with .Values -}}
{{- $copies := or .audit.http.url (hasPrefix "t" .audit.syslog) -}}
{{- $closed := and (eq .mode "standalone") .networkPolicy.enabled -}}
{{- if and $closed .audit.timeStamps.url (not .networkPolicy.extraEgress) -}}
{{- fail "The NetworkPolicy would block the time-stamp authority. Add a rule for it to networkPolicy.extraEgress." -}}
{{- end -}}
{{- if and $closed $copies (not .networkPolicy.auditCopies.peers) (not .networkPolicy.extraEgress) -}}
{{- fail "The NetworkPolicy would block copies of audit records. Add their receiver to networkPolicy.auditCopies.peers, or a rule to networkPolicy.extraEgress." -}}
{{- end -}}
{{- if and $closed .traces.otlp.endpoint (not .traces.disabled) (not .networkPolicy.traces.peers) (not .networkPolicy.extraEgress) -}}
{{- fail "The NetworkPolicy would block the export of spans. Add the collector to networkPolicy.traces.peers, or a rule to networkPolicy.extraEgress." -}}
{{- end -}}
{{- if and $closed (not .upstream.namespace) (not .networkPolicy.upstream.peers) (not .networkPolicy.extraEgress) -}}
{{- $hosts := list .upstream.host -}}
{{- range .upstream.routes -}}{{- $hosts = append $hosts (.host | default $.Values.upstream.host) -}}{{- end -}}
{{- range ternary (rest $hosts) $hosts (gt (len $hosts) 1) -}}
{{- $labels := splitList "." . -}}
{{- $address := or (hasPrefix "[" .) (regexMatch "^[0-9.]+$" .) -}}
{{- if and (gt (len $labels) 1) (not $address) (ne (index $labels 1) $.Release.Namespace) -}}
{{- fail (printf "The NetworkPolicy would block connections to %s, which is not in the namespace %s. Set upstream.namespace to its namespace, or networkPolicy.upstream.peers to its peers." . $.Release.Namespace) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and (eq .mode "inject") .inject.namespaceSelector .lockUpstream.enabled -}}
{{- fail "lockUpstream.enabled protects pods in the release namespace only, but inject.namespaceSelector selects other namespaces. Install the chart in each namespace, or set lockUpstream.enabled to false and create NetworkPolicies there." -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Selectors use these labels: with other values, they would select the wrong objects. */}}
{{- define "voxgate.guards.labels" -}}
{{- $own := list "helm.sh/chart" -}}
{{- range list "name" "instance" "version" "component" "managed-by" -}}
{{- $own = append $own (printf "app.kubernetes.io/%s" .) -}}
{{- end -}}
{{- with .Values -}}
{{- range $value, $labels := dict "test.labels" .test.labels "commonLabels" .commonLabels "podLabels" .podLabels "metrics.labels" .metrics.labels "alerts.labels" .alerts.labels "dashboard.labels" .dashboard.labels -}}
{{- range $label, $_ := $labels -}}
{{- if has $label $own -}}
{{- fail (printf "%s sets %s, which the chart sets itself. Use another label." $value $label) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $value, $annotations := dict "podAnnotations" .podAnnotations "commonAnnotations" .commonAnnotations -}}
{{- if hasKey $annotations "checksum/voxgate-config" -}}
{{- fail (printf "%s sets checksum/voxgate-config, which the chart sets itself to restart pods when the configuration changes. Remove it." $value) -}}
{{- end -}}
{{- end -}}
{{- range $value, $annotations := dict "test.annotations" .test.annotations "commonAnnotations" .commonAnnotations -}}
{{- range $name, $_ := $annotations -}}
{{- if hasPrefix "helm.sh/" $name -}}
{{- include "voxgate.refuse" (printf "%s sets %s, which is for Helm: the chart sets it where it is needed. Remove it." $value $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "voxgate.guards.service" -}}
{{- with .Values.service -}}
{{- if and .nodePort (eq .type "ClusterIP") -}}
{{- include "voxgate.refuse" "service.nodePort is set, but service.type is ClusterIP. Set service.type to NodePort or LoadBalancer, or leave service.nodePort empty." -}}
{{- end -}}
{{- if and .externalTrafficPolicy (eq .type "ClusterIP") -}}
{{- include "voxgate.refuse" "service.externalTrafficPolicy is set, but service.type is ClusterIP. Set service.type to NodePort or LoadBalancer, or leave service.externalTrafficPolicy empty." -}}
{{- end -}}
{{- if and .loadBalancerClass (ne .type "LoadBalancer") -}}
{{- include "voxgate.refuse" (printf "service.loadBalancerClass is set, but service.type is %s. Set service.type to LoadBalancer, or leave service.loadBalancerClass empty." .type) -}}
{{- end -}}
{{- if and (has "IPv6" .ipFamilies) (ne $.Values.listenHost "[::]") -}}
{{- include "voxgate.refuse" "service.ipFamilies has IPv6, but listenHost is 0.0.0.0. Set listenHost to [::], which serves both families." -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "voxgate.guards.routes" -}}
{{- with .Values -}}
{{- if and .ingress.enabled (not .ingress.hosts) -}}
{{- include "voxgate.refuse" "ingress.enabled is true, but ingress.hosts is empty. Add at least one host name." -}}
{{- end -}}
{{- if and .httpRoute.enabled (not .httpRoute.gateway.enabled) (not .httpRoute.parentRefs) -}}
{{- include "voxgate.refuse" "httpRoute.enabled is true, but httpRoute.parentRefs is empty. Add the Gateway to it, or set httpRoute.gateway.enabled to create one." -}}
{{- end -}}
{{- if .httpRoute.gateway.enabled -}}
{{- if not .httpRoute.enabled -}}
{{- include "voxgate.refuse" "httpRoute.gateway.enabled is true, but httpRoute.enabled is false. Set httpRoute.enabled to true." -}}
{{- end -}}
{{- if not .httpRoute.gateway.className -}}
{{- include "voxgate.refuse" "httpRoute.gateway.className is empty. Set it to the name of a GatewayClass in the cluster." -}}
{{- end -}}
{{- if not .httpRoute.hostnames -}}
{{- include "voxgate.refuse" "httpRoute.gateway.enabled is true, but httpRoute.hostnames is empty. Add the host names of the TLS certificate." -}}
{{- end -}}
{{- end -}}
{{- range $value, $tls := dict "ingress.tls" .ingress.tls "httpRoute.gateway.tls" .httpRoute.gateway.tls -}}
{{- if and $tls.clusterIssuer $tls.issuer -}}
{{- include "voxgate.refuse" (printf "%s.clusterIssuer and %s.issuer are both set. Keep one, and leave the other empty." $value $value) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
