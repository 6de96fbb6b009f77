{{/* The release name, which names everything that is in one namespace. */}}
{{- define "lineside.name" -}}
{{- printf "%s-operator" (.Release.Name | trunc 44 | trimSuffix "-") -}}
{{- end -}}

{{/* The name of objects that are in no namespace: one per release of the cluster. */}}
{{- define "lineside.clusterName" -}}
{{- printf "%s.%s" (include "lineside.name" .) .Release.Namespace -}}
{{- end -}}

{{- define "lineside.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (include "lineside.name" .) -}}
{{- end -}}

{{/* What finds the operator's pods. Never changes within a release. */}}
{{- define "lineside.selectorLabels" -}}
app.kubernetes.io/name: lineside-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Labels of every object; the user's cannot replace those that something selects by. */}}
{{- define "lineside.labels" -}}
{{- $own := dict
  "app.kubernetes.io/name" "lineside-operator"
  "app.kubernetes.io/instance" .Release.Name
  "app.kubernetes.io/version" .Chart.AppVersion
  "app.kubernetes.io/part-of" "lineside" -}}
{{- merge $own .Values.commonLabels | toYaml -}}
{{- end -}}

{{/* Labels of what Prometheus' own operator reads, with those by which it is told to select. */}}
{{- define "lineside.monitoringLabels" -}}
{{- merge (include "lineside.labels" . | fromYaml) .Values.metrics.labels | toYaml -}}
{{- end -}}

{{/* Labels of a pod. Call with (list $ NAME), NAME being its app.kubernetes.io/name. */}}
{{- define "lineside.podLabels" -}}
{{- $root := index . 0 -}}
{{- $own := dict
  "app.kubernetes.io/name" (index . 1)
  "app.kubernetes.io/instance" $root.Release.Name
  "app.kubernetes.io/version" $root.Chart.AppVersion
  "app.kubernetes.io/part-of" "lineside" -}}
{{- merge $own $root.Values.podLabels $root.Values.commonLabels | toYaml -}}
{{- end -}}

{{/* Reference of an image. Call with (list $ IMAGE). */}}
{{- define "lineside.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- with $root.Values.imageRegistry }}{{ . | trimSuffix "/" }}/{{ end -}}
{{- $image.repository -}}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default $root.Chart.AppVersion }}{{ end -}}
{{- end -}}

{{/* Spec of the built-in pool. Agents need the same pull secrets as the operator, if nothing else is said. */}}
{{- define "lineside.defaultPool" -}}
{{- $pool := deepCopy .Values.defaultPool -}}
{{- if and .Values.imagePullSecrets (not (hasKey $pool "imagePullSecrets")) -}}
{{- $names := list -}}
{{- range .Values.imagePullSecrets }}{{ $names = append $names .name }}{{ end -}}
{{- $_ := set $pool "imagePullSecrets" $names -}}
{{- end -}}
{{- toYaml $pool -}}
{{- end -}}

{{/* Pod Security "restricted", for the pod. */}}
{{- define "lineside.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* Pod Security "restricted", for each container. */}}
{{- define "lineside.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Where a pod of the chart may run, and with which pull secrets. */}}
{{- define "lineside.scheduling" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}
