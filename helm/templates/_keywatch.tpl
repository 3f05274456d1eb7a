{{/* Keys by a watch of the Kubernetes API (keys.source: watch). */}}

{{/* Not empty where the gateway watches Secrets. */}}
{{- define "voxgate.keyWatch" -}}
{{- if and (eq .Values.keys.source "watch") (eq (include "voxgate.authMode" .) "validate") -}}yes{{- end -}}
{{- end -}}

{{/* The name of the one Secret that is watched. Empty where Secrets are watched by their labels. */}}
{{- define "voxgate.watchedSecret" -}}
{{- if include "voxgate.keyWatch" . -}}
{{- .Values.keys.existingSecret | default (ternary (printf "%s-keys" (include "voxgate.fullname" .)) "" (not (empty .Values.keys.inline))) -}}
{{- end -}}
{{- end -}}

{{/* Not empty where Secrets are watched by their labels. No file has their keys. */}}
{{- define "voxgate.watchedLabels" -}}
{{- if and (include "voxgate.keyWatch" .) (not (include "voxgate.watchedSecret" .)) -}}
{{ .Values.keys.selector }}
{{- end -}}
{{- end -}}

{{/* What cannot be watched. */}}
{{- define "voxgate.guards.keyWatch" -}}
{{- if eq .Values.keys.source "watch" -}}
{{- with .Values -}}
{{- if ne .mode "standalone" -}}
{{- include "voxgate.refuse" (printf "keys.source is watch, but in mode %s the gateway runs in pods of another workload, whose ServiceAccount it must not use. Set keys.source to mount." .mode) -}}
{{- end -}}
{{- if eq .auth.mode "preconfigured" -}}
{{- include "voxgate.refuse" "keys.source is watch, but auth.mode is preconfigured, in which no caller needs a key. Set keys.source to mount." -}}
{{- end -}}
{{- if .keys.file -}}
{{- include "voxgate.refuse" "keys.source is watch, but keys.file is set. Set keys.source to mount, or leave keys.file empty." -}}
{{- end -}}
{{- if ne .keys.format "toml" -}}
{{- include "voxgate.refuse" (printf "keys.source is watch, but keys.format is %s. Set keys.format to toml." .keys.format) -}}
{{- end -}}
{{- if not (or .serviceAccount.create .serviceAccount.name) -}}
{{- include "voxgate.refuse" "keys.source is watch, which needs a ServiceAccount of its own: each pod with the same one could read the keys. Set serviceAccount.create to true, or serviceAccount.name." -}}
{{- end -}}
{{- if eq .serviceAccount.name "default" -}}
{{- include "voxgate.refuse" "keys.source is watch, but serviceAccount.name is default, with which every other pod of the namespace could read the keys. Set serviceAccount.create to true, and leave serviceAccount.name empty." -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Where clients of the API server look for the token, the CA certificate and the namespace. */}}
{{- define "voxgate.keyWatchMount" -}}
- name: voxgate-api-token
  mountPath: /var/run/secrets/kubernetes.io/serviceaccount
  readOnly: true
{{- end -}}

{{/* The token is valid for an hour, and the kubelet renews it. */}}
{{- define "voxgate.keyWatchVolume" -}}
- name: voxgate-api-token
  projected:
    sources:
      - serviceAccountToken:
          path: token
          expirationSeconds: 3600
      - configMap:
          name: kube-root-ca.crt
          items:
            - key: ca.crt
              path: ca.crt
      - downwardAPI:
          items:
            - path: namespace
              fieldRef:
                fieldPath: metadata.namespace
{{- end -}}
