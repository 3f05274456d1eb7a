{{/* The settings of the gateway: see the table in the project's README. */}}

{{/* How callers are let in, once the guards have let it through. */}}
{{- define "voxgate.authMode" -}}
{{- .Values.auth.mode | default (ternary "validate" "preconfigured" (not (empty (include "voxgate.callersKeys" .)))) -}}
{{- end -}}

{{/* Not empty where callers' keys are set, wherever they are. */}}
{{- define "voxgate.callersKeys" -}}
{{- if or .Values.keys.existingSecret .Values.keys.inline .Values.keys.file -}}yes{{- end -}}
{{- end -}}

{{- define "voxgate.deploymentVariable" -}}
{{- get (dict
  "rime" "RIME_API_KEY_FILE"
  "supertone" "SUPERTONE_API_KEY_FILE"
  "smallest" "SMALLEST_API_KEY_FILE"
  "kugel" "KUGELAUDIO_API_KEY_FILE"
  "inworld" "INWORLD_API_KEY_FILE") .Values.dialect -}}
{{- end -}}

{{/* The servers behind, as `VOXGATE_UPSTREAM`. */}}
{{- define "voxgate.upstream" -}}
{{- $default := .Values.upstream -}}
{{- $inPod := ternary "" "127.0.0.1" (eq .Values.mode "standalone") -}}
{{- $urls := list -}}
{{- range .Values.upstream.routes | default (list (dict)) -}}
{{- $host := .host | default $default.host | default $inPod -}}
{{- $url := printf "%s://%s:%d" (.scheme | default $default.scheme) $host (int (.port | default $default.port)) -}}
{{- $urls = append $urls (empty .prefix | ternary $url (printf "%s=%s" .prefix $url)) -}}
{{- end -}}
{{- join "," $urls -}}
{{- end -}}

{{/* The ports of those servers. */}}
{{- define "voxgate.upstreamPorts" -}}
{{- $ports := list -}}
{{- range .Values.upstream.routes -}}{{- $ports = append $ports (int .port) -}}{{- end -}}
{{- toYaml (uniq $ports | default (list .Values.upstream.port)) -}}
{{- end -}}

{{/* One directory for each pod, where pods share a volume: a log has one writer. */}}
{{- define "voxgate.auditDirectory" -}}
{{- get (dict
  "emptyDir" "/var/lib/voxgate/audit"
  "persistentVolumeClaim" "/var/lib/voxgate/audit/$(POD_NAME)") .Values.audit.volume.type -}}
{{- end -}}

{{/* A list of pairs; what is empty is not set, and the gateway's default holds. */}}
{{- define "voxgate.settings" -}}
{{- with .Values -}}
{{- toYaml (list
  (list "VOXGATE_MODE" (include "voxgate.authMode" $))
  (list "VOXGATE_DIALECT" .dialect)
  (list (include "voxgate.keysVariable" $) (ternary .keys.file "" (eq (include "voxgate.authMode" $) "validate")))
  (list (include "voxgate.deploymentVariable" $) .deploymentKey.file)
  (list "VOXGATE_UPSTREAM" (include "voxgate.upstream" $))
  (list "VOXGATE_LISTEN" (printf "%s:%d" .listenHost (int .ports.http)))
  (list "VOXGATE_ADMIN_LISTEN" (printf "%s:%d" .listenHost (int .ports.admin)))
  (list "VOXGATE_TLS_MIN_VERSION" .tls.minVersion)
  (list "VOXGATE_TLS_CLIENT_AUTH" .tls.clientAuth)
  (list "VOXGATE_TRUSTED_PROXIES" (join "," .proxies.trusted))
  (list "VOXGATE_CLIENT_ADDRESS_HEADER" .proxies.clientAddressHeader)
  (list "VOXGATE_PROXY_PROTOCOL" (join "," .proxies.proxyProtocol))
  (list "VOXGATE_CONTINUE_TRACES" .traces.continue)
  (list "OTEL_EXPORTER_OTLP_ENDPOINT" .traces.otlp.endpoint)
  (list "OTEL_EXPORTER_OTLP_PROTOCOL" .traces.otlp.protocol)
  (list "OTEL_EXPORTER_OTLP_TIMEOUT" .traces.otlp.timeoutMilliseconds)
  (list "OTEL_SERVICE_NAME" .traces.serviceName)
  (list "OTEL_RESOURCE_ATTRIBUTES" .traces.resourceAttributes)
  (list "OTEL_TRACES_SAMPLER" .traces.sampler)
  (list "OTEL_TRACES_SAMPLER_ARG" .traces.samplerArgument)
  (list "OTEL_SDK_DISABLED" (ternary "true" "" .traces.disabled))
  (list "VOXGATE_AUTHORIZE_LISTEN" (ternary (printf "%s:%d" .listenHost (int .authorizer.port)) "" .authorizer.enabled))
  (list "VOXGATE_AUTHORIZE_UNENFORCED" (ternary .authorizer.unenforced "" .authorizer.enabled))
  (list "VOXGATE_CORS_ORIGINS" (join "," .cors.origins))
  (list "VOXGATE_CORS_PREFLIGHTS" .cors.preflights)
  (list "VOXGATE_PUBLIC" (join ", " .publicRoutes))
  (list "VOXGATE_CONNECT_TIMEOUT_SECONDS" .timeouts.connectSeconds)
  (list "VOXGATE_UPSTREAM_TIMEOUT_SECONDS" .timeouts.upstreamSeconds)
  (list "VOXGATE_UPSTREAM_IDLE_TIMEOUT_SECONDS" .timeouts.upstreamIdleSeconds)
  (list "VOXGATE_TUNNEL_IDLE_TIMEOUT_SECONDS" .timeouts.tunnelIdleSeconds)
  (list "VOXGATE_REQUEST_TIMEOUT_SECONDS" .timeouts.requestSeconds)
  (list "VOXGATE_HEADER_READ_TIMEOUT_SECONDS" .timeouts.headerReadSeconds)
  (list "VOXGATE_CLIENT_IDLE_TIMEOUT_SECONDS" .timeouts.clientIdleSeconds)
  (list "VOXGATE_UPSTREAM_RESOLVE_SECONDS" .upstream.resolveSeconds)
  (list "VOXGATE_UPSTREAM_CONNECTION_AGE_SECONDS" .upstream.connectionAgeSeconds)
  (list "VOXGATE_UPSTREAM_HEALTH" .upstream.health)
  (list "VOXGATE_UPSTREAM_TLS_SERVER_NAME" .upstream.tls.serverName)
  (list "VOXGATE_BODY_INSPECT_KIB" .speech.bodyInspectKiB)
  (list "VOXGATE_BODY_HELD_MIB" .speech.bodyHeldMiB)
  (list "VOXGATE_CONNECTIONS_PER_CLIENT" .limits.connectionsPerClient)
  (list "VOXGATE_FIRST_MESSAGE_CONNECTIONS" .limits.firstMessageConnections)
  (list "VOXGATE_METRICS_KEYS" .metrics.keys)
  (list "VOXGATE_HEADER_NAMES" .headers.names)
  (list "VOXGATE_CREDENTIAL_HEADER" .headers.credential)
  (list "VOXGATE_FORWARD_HEADERS" .headers.forward)
  (list "VOXGATE_FILTER_LISTS" .filterLists)
  (list "VOXGATE_FORWARD_HEADERS_ALSO" (join "," .headers.forwardAlso))
  (list "VOXGATE_TOKEN_MINT" .tokens.mint)
  (list "VOXGATE_TOKEN_SIGNED_HOSTS" (join "," .tokens.signedHosts))
  (list "VOXGATE_TOKEN_ISSUER" .tokens.issuer)
  (list "VOXGATE_TOKEN_AUDIENCE" .tokens.audience)
  (list "VOXGATE_TOKEN_SINGLE_USE_MAX" .tokens.singleUseMax)
  (list "VOXGATE_TOKEN_CUT" .tokens.cut)
  (list "VOXGATE_TOKEN_JWKS" .tokens.jwks)
  (list "VOXGATE_FORWARDED" .headers.forwarded)
  (list "VOXGATE_VIA" .headers.via)
  (list "VOXGATE_DRAIN_SECONDS" .shutdown.drainSeconds)
  (list "VOXGATE_CONTROL_DIR" (include "voxgate.controlDirectory" $))
  (list "VOXGATE_LOG" .log.filter)
  (list "VOXGATE_LOG_FORMAT" .log.format)
  (list "VOXGATE_AUDIT" .audit.promise)
  (list "VOXGATE_AUDIT_DIR" (include "voxgate.auditDirectory" $))
  (list "VOXGATE_AUDIT_SEGMENT" .audit.segment)
  (list "VOXGATE_AUDIT_RETENTION" .audit.retention)
  (list "VOXGATE_AUDIT_RETENTION_SHARE" .audit.retentionShare)
  (list "VOXGATE_AUDIT_TSA_URL" .audit.timeStamps.url)
  (list "VOXGATE_AUDIT_TSA_INTERVAL" .audit.timeStamps.interval)
  (list "VOXGATE_AUDIT_ADDRESSES" .audit.addresses)
  (list "VOXGATE_AUDIT_SYSLOG" .audit.syslog)
  (list "VOXGATE_AUDIT_HTTP" .audit.http.url)
  (list "VOXGATE_AUDIT_STDOUT" (ternary "true" "" .audit.stdout))
  (list "VOXGATE_AUDIT_REQUIRED" (join "," .audit.required))
  (list "VOXGATE_LIMIT_RATE" .limits.rate)
  (list "VOXGATE_LIMIT_BURST" .limits.burst)
  (list "VOXGATE_LIMIT_CONCURRENCY" .limits.concurrency)
  (list "VOXGATE_LIMIT_UPSTREAM_CONCURRENCY" .limits.upstreamConcurrency)
  (list "VOXGATE_LIMIT_QUEUE" .limits.queue)
  (list "VOXGATE_LIMIT_QUEUE_TIMEOUT_SECONDS" .limits.queueTimeoutSeconds)
  (list "VOXGATE_LIMIT_HEADERS" .limits.headers)
  (list "VOXGATE_LIMIT_LOAD_REPORT" .limits.loadReport)
  (list "VOXGATE_LIMIT_AUTH_FAILURES" .limits.authFailures)
  (list "VOXGATE_LIMIT_ON_FAILURE" .limits.onFailure)
  (list "VOXGATE_LIMIT_LEASE_SECONDS" .limits.leaseSeconds)
  (list "VOXGATE_LIMIT_NAMESPACE" .limits.namespace)
  (list "VOXGATE_METERING" (ternary "true" "" .usage.metering))
  (list "VOXGATE_USAGE_ANSWERS" (ternary "true" "" .usage.answers))
  (list "VOXGATE_QUOTA_TIME_ZONE" .usage.timeZone)
  (list "VOXGATE_QUOTA_FILE" .usage.stateFile)
) -}}
{{- end -}}
{{- end -}}

{{- define "voxgate.env" -}}
{{- $names := list -}}
{{- if eq .Values.audit.volume.type "persistentVolumeClaim" }}
{{- /* Unknown VOXGATE_ variables are an error to the gateway, so this is not one of them. */}}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
{{- end }}
{{- range include "voxgate.settings" . | fromYamlArray }}
{{- $text := kindIs "float64" (last .) | ternary (last . | int64 | toString) (last . | toString) }}
{{- if $text }}
{{- $names = append $names (first .) }}
- name: {{ first . }}
  value: {{ $text | quote }}
{{- end }}
{{- end }}
{{- range include "voxgate.files" . | fromYamlArray }}
{{- $names = append $names .variable }}
- name: {{ .variable }}
  value: {{ printf "/etc/voxgate/%s/%s" .name .key | quote }}
{{- end }}
{{- range .Values.extraEnv }}
{{- if has .name (append $names "POD_NAME") }}
{{- fail (printf "extraEnv sets %s, which the chart sets itself. Remove it, and set the chart's value for it." .name) }}
{{- end }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}
