{{/* The forms of texts. A schema could only show a regular expression, which says neither the form nor an
example. In a path, `[]` stands for each item of a list and `{}` for each value of a map. A text that may hold
a password is not repeated. */}}
{{- define "voxgate.forms" -}}
- form: the name of a registry, such as registry.example.com:5000
  matches: '^([a-z0-9]([-a-z0-9._/:]*[a-z0-9])?)?$'
  at:
    - "global.imageRegistry"
    - "image.registry"
- form: lower case letters, digits and -, at most 63, with a letter or digit at both ends, such as voice-gateway
  matches: '^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?$'
  at:
    - "nameOverride"
    - "fullnameOverride"
- form: "the value of a label: letters, digits, -, _ and ., at most 63, with a letter or digit at both ends"
  matches: '^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$'
  at:
    - "commonLabels{}"
    - "upstream.podLabels{}"
    - "nodeSelector{}"
    - "podLabels{}"
    - "networkPolicy.clients[].podSelector.matchLabels{}"
    - "networkPolicy.clients[].namespaceSelector.matchLabels{}"
    - "networkPolicy.authorizerClients[].podSelector.matchLabels{}"
    - "networkPolicy.authorizerClients[].namespaceSelector.matchLabels{}"
    - "networkPolicy.monitoring[].podSelector.matchLabels{}"
    - "networkPolicy.monitoring[].namespaceSelector.matchLabels{}"
    - "networkPolicy.dns.peers[].podSelector.matchLabels{}"
    - "networkPolicy.dns.peers[].namespaceSelector.matchLabels{}"
    - "networkPolicy.upstream.peers[].podSelector.matchLabels{}"
    - "networkPolicy.upstream.peers[].namespaceSelector.matchLabels{}"
    - "networkPolicy.redis.peers[].podSelector.matchLabels{}"
    - "networkPolicy.redis.peers[].namespaceSelector.matchLabels{}"
    - "networkPolicy.traces.peers[].podSelector.matchLabels{}"
    - "networkPolicy.traces.peers[].namespaceSelector.matchLabels{}"
    - "networkPolicy.apiServer.peers[].podSelector.matchLabels{}"
    - "networkPolicy.apiServer.peers[].namespaceSelector.matchLabels{}"
    - "networkPolicy.auditCopies.peers[].podSelector.matchLabels{}"
    - "networkPolicy.auditCopies.peers[].namespaceSelector.matchLabels{}"
    - "metrics.labels{}"
    - "alerts.labels{}"
    - "alerts.ruleLabels{}"
    - "alerts.severities{}"
    - "dashboard.labels{}"
    - "inject.namespaceSelector.matchLabels{}"
    - "test.labels{}"
- form: the name of an image, without tag and digest, such as ghcr.io/example/voxgate
  matches: '^[a-z0-9][-a-z0-9._/:]*$'
  at:
    - "image.repository"
- form: "the tag of an image: letters, digits, -, _ and ., at most 128, such as 1.2.3"
  matches: '^([A-Za-z0-9_][-A-Za-z0-9_.]{0,127})?$'
  at:
    - "image.tag"
- form: "the digest of an image: sha256: and 64 digits in 0-9 and a-f"
  matches: '^(sha256:[0-9a-f]{64})?$'
  at:
    - "image.digest"
- form: "the name of an object in Kubernetes: lower case letters, digits, - and ., at most 253, with a letter or digit at both ends, such as voxgate-tls"
  matches: '^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?)?$'
  at:
    - "imagePullSecrets[]"
    - "upstream.tls.existingSecret"
    - "upstream.namespace"
    - "tls.existingSecret"
    - "tls.admin.existingSecret"
    - "audit.volume.storageClassName"
    - "audit.volume.existingClaim"
    - "priorityClassName"
    - "serviceAccount.name"
    - "ingress.className"
    - "ingress.tls.secretName"
    - "ingress.tls.clusterIssuer"
    - "ingress.tls.issuer"
    - "httpRoute.parentRefs[].name"
    - "httpRoute.parentRefs[].namespace"
    - "httpRoute.parentRefs[].sectionName"
    - "httpRoute.gateway.className"
    - "httpRoute.gateway.tls.secretName"
    - "httpRoute.gateway.tls.clusterIssuer"
    - "httpRoute.gateway.tls.issuer"
    - "test.tls.serverName"
- form: a label selector, such as voxgate.dev/keys=true
  matches: '^[-A-Za-z0-9._/=!,() ]+$'
  at:
    - "keys.selector"
- form: the name of a Secret or ConfigMap, or NAME/KEY for one of its keys, such as voxgate-keys or voxgate-keys/keys.toml
  matches: '^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?(/[-._a-zA-Z0-9]{1,253})?)?$'
  at:
    - "keys.existingSecret"
    - "deploymentKey.existingSecret"
    - "policy.existingConfigMap"
    - "upstream.tls.caConfigMap"
    - "upstream.tls.crlConfigMap"
    - "tls.clientCaConfigMap"
    - "tls.clientCrlConfigMap"
    - "traces.otlp.existingSecret"
    - "traces.otlp.caConfigMap"
    - "tokens.signingKey.existingSecret"
    - "tokens.secondKey.existingSecret"
    - "tokens.issuersConfigMap"
    - "redis.existingSecret"
    - "redis.caConfigMap"
    - "audit.signingKey.existingSecret"
    - "audit.pepper.existingSecret"
    - "audit.http.existingSecret"
    - "audit.caConfigMap"
    - "test.tls.caConfigMap"
    - "test.key.existingSecret"
- form: the absolute path of a file, without blanks and commas, such as /mnt/secrets/keys.toml
  matches: '^(/[^\s,]+)?$'
  at:
    - "keys.file"
    - "deploymentKey.file"
- form: a method in capital letters and a path, separated by one space, such as GET /health
  matches: '^[A-Z]+ /[^\s,]*$'
  at:
    - "publicRoutes[]"
- form: a host name or an IP address, IPv6 in brackets, such as tts.voice.svc or [::1]
  matches: '^([A-Za-z0-9]([-A-Za-z0-9.]{0,251}[A-Za-z0-9])?|\[[0-9a-fA-F:.]+\])?$'
  at:
    - "upstream.host"
    - "upstream.routes[].host"
- form: GET or HEAD and a path, separated by one space, such as GET /health
  matches: '^((GET|HEAD) /[^\s#]*)?$'
  at:
    - "upstream.health"
- form: "a path that begins with /, without blanks, query and the characters , = # %, such as /v1/speech"
  matches: '^/[^\s,=?#%]*$'
  at:
    - "upstream.routes[].prefix"
- form: a host name or an IP address, such as tts.example.com
  matches: '^[-A-Za-z0-9.:]*$'
  at:
    - "upstream.tls.serverName"
- form: "the name of a key in a Secret: letters, digits, -, _ and ., at most 253, such as tls.crt"
  matches: '^[-._a-zA-Z0-9]{1,253}$'
  at:
    - "upstream.tls.certificateKey"
    - "upstream.tls.privateKeyKey"
    - "tls.certificateKey"
    - "tls.privateKeyKey"
    - "tls.admin.certificateKey"
    - "tls.admin.privateKeyKey"
- form: an IP address or a network, such as 10.0.0.0/8 or fd00::/8
  matches: '^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$'
  at:
    - "proxies.trusted[]"
    - "proxies.proxyProtocol[]"
- form: an http:// or https:// URL without user, query and blanks, such as http://collector:4318
  matches: '^(https?://[^\s@?]+)?$'
  hidden: true
  at:
    - "traces.otlp.endpoint"
- form: "a number from 0 to 1 in quotes, such as '0.1'"
  matches: '^(0|1|[01]?[.][0-9]+)?$'
  at:
    - "traces.samplerArgument"
- form: "* or an origin in lower case: scheme, host and port, without a path, such as https://app.example.com"
  matches: '^([*]|https?://[-a-z0-9.:\[\]]+)$'
  at:
    - "cors.origins[]"
- form: "the name of a header: letters, digits and -, such as X-Voxgate-Key"
  matches: '^[-A-Za-z0-9]*$'
  at:
    - "headers.credential"
- form: "the name of a header: letters, digits and -, such as X-Request-Tag"
  matches: '^[-A-Za-z0-9]+$'
  at:
    - "headers.forwardAlso[]"
- form: a name of letters, digits, - and ., such as voxgate
  matches: '^[-A-Za-z0-9.]*$'
  at:
    - "headers.via"
- form: a host name, with a port if there is one, such as tts.example.com
  matches: '^[-A-Za-z0-9._:\[\]]{1,255}$'
  at:
    - "tokens.signedHosts[]"
- form: a whole number and the unit s, min or h, such as 50/s
  matches: '^([1-9][0-9]*/(s|min|h))?$'
  at:
    - "limits.rate"
- form: letters, digits, -, _, . and :, at most 64, such as voxgate:prod
  matches: '^[-A-Za-z0-9_.:]{0,64}$'
  at:
    - "limits.namespace"
- form: the name of a time zone, such as Europe/Berlin
  matches: '^([A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*)?$'
  at:
    - "usage.timeZone"
- form: an absolute path, such as /var/lib/voxgate/usage.json
  matches: '^(/.*)?$'
  at:
    - "usage.stateFile"
- form: a whole number and the unit Mi, Gi or Ti, such as 10Gi
  matches: '^[0-9]+(Mi|Gi|Ti)$'
  at:
    - "audit.volume.size"
- form: a whole number and the unit MiB or GiB, such as 64MiB
  matches: '^([1-9][0-9]*(MiB|GiB))?$'
  at:
    - "audit.segment"
- form: whole numbers with units (h, d, w, M or y), such as 30d
  matches: '^(([0-9]+ ?(h|d|w|M|y|hours?|days?|weeks?|months?|years?)) ?)*$'
  at:
    - "audit.retention"
- form: "a share from 1% to 100% in quotes, such as '80%'"
  matches: '^(([1-9]|[1-9][0-9]|100)%)?$'
  at:
    - "audit.retentionShare"
- form: an http:// or https:// URL without blanks, such as https://collector.example.com/records
  matches: '^(https?://\S+)?$'
  hidden: true
  at:
    - "audit.timeStamps.url"
    - "audit.http.url"
- form: a whole number and the unit s, m, h or day, such as 1h
  matches: '^([1-9][0-9]* ?(s|m|h|day))?$'
  at:
    - "audit.timeStamps.interval"
- form: tcp://HOST:PORT, tls://HOST:PORT or unix:///PATH, such as tls://siem.example.com:6514
  matches: '^((tcp|tls)://[^\s/:]+:[0-9]+|unix:///\S+)?$'
  at:
    - "audit.syslog"
- form: "a whole number, or a share in quotes, such as '25%'"
  matches: '^[0-9]{1,2}%$'
  at:
    - "podDisruptionBudget.maxUnavailable"
- form: "a whole number, or a share in quotes, such as '25%'"
  matches: '^[0-9]{1,3}%$'
  at:
    - "maxSurge"
- form: a host name in lower case, such as tts.example.com or *.example.com
  matches: '^(\*\.)?[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$'
  at:
    - "hostAliases[].hostnames[]"
    - "ingress.hosts[]"
    - "httpRoute.hostnames[]"
- form: the name of a class, such as example.com/internal
  matches: '^([A-Za-z0-9][-A-Za-z0-9_./]*)?$'
  at:
    - "service.loadBalancerClass"
- form: a network with its length, such as 203.0.113.0/24
  matches: '^[0-9a-fA-F.:]+/[0-9]{1,3}$'
  at:
    - "service.loadBalancerSourceRanges[]"
- form: a path that begins with / and has no blanks, such as /v1
  matches: '^/[^\s]*$'
  at:
    - "ingress.path"
    - "httpRoute.path"
    - "test.path"
- form: a time from 1s to 120s, or 1m or 2m
  matches: '^(([1-9]|[1-9][0-9]|1[01][0-9]|120)s|[12]m)$'
  at:
    - "metrics.interval"
- form: a time such as 10s, 500ms or 1m
  matches: '^([1-9][0-9]{0,2}(ms|s)|[12]m)?$'
  at:
    - "metrics.scrapeTimeout"
- form: the name of a label, such as voxgate.dev/inject
  matches: '^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'
  at:
    - "inject.label"
- form: "the value of a label: letters, digits, -, _ and ., at most 63, with a letter or digit at both ends"
  matches: '^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'
  at:
    - "inject.labelValue"
- form: "the name of an environment variable: letters, digits and _, such as MY_SETTING"
  matches: '^[A-Za-z_][A-Za-z0-9_]*$'
  at:
    - "extraEnv[].name"
{{- end -}}

{{/* The texts at a path, each with its place, as JSON; call with (list value parts place). */}}
{{- define "voxgate.texts" -}}
{{- $value := index . 0 -}}
{{- $parts := index . 1 -}}
{{- $place := index . 2 -}}
{{- $found := list -}}
{{- if not $parts -}}
{{- /* A number of Helm 3.18.0 has the kind of a string. */}}
{{- if typeIs "string" $value -}}{{- $found = list (dict "place" $place "text" $value) -}}{{- end -}}
{{- else if eq (first $parts) "[]" -}}
{{- if kindIs "slice" $value -}}
{{- range $index, $each := $value -}}
{{- $found = concat $found (include "voxgate.texts" (list $each (rest $parts) (printf "%s[%d]" $place $index)) | fromJsonArray) -}}
{{- end -}}
{{- end -}}
{{- else if eq (first $parts) "{}" -}}
{{- if kindIs "map" $value -}}
{{- range $name, $each := $value -}}
{{- $found = concat $found (include "voxgate.texts" (list $each (rest $parts) (printf "%s.%s" $place $name)) | fromJsonArray) -}}
{{- end -}}
{{- end -}}
{{- else if kindIs "map" $value -}}
{{- if hasKey $value (first $parts) -}}
{{- $next := ternary (first $parts) (printf "%s.%s" $place (first $parts)) (empty $place) -}}
{{- $found = include "voxgate.texts" (list (get $value (first $parts)) (rest $parts) $next) | fromJsonArray -}}
{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{- define "voxgate.guards.forms" -}}
{{- range $form := include "voxgate.forms" . | fromYamlArray -}}
{{- range $form.at -}}
{{- $parts := . | replace "[]" ".[]" | replace "{}" ".{}" | splitList "." -}}
{{- range include "voxgate.texts" (list $.Values $parts "") | fromJsonArray -}}
{{- if not (regexMatch $form.matches .text) -}}
{{- $is := ternary "has the wrong form" (printf "is %s" .text) (default false $form.hidden) -}}
{{- $fix := ternary "Correct it, or leave it empty." "Correct it." (regexMatch $form.matches "") -}}
{{- include "voxgate.refuse" (printf "%s %s, but it must be %s. %s" .place $is $form.form $fix) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
