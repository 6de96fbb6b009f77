{{/*
The operator's rights, as operator/README.md lists them.
Those on objects of a namespace: a ClusterRole in cluster mode, a Role per watched namespace otherwise.
*/}}
{{- define "lineside.rules.namespaced" -}}
# The user's objects are read; status is what the operator writes to them.
- apiGroups: [lineside.dev]
  resources: [deviceconnections, pipelines, sinks, agentpools]
  verbs: [list, watch]
- apiGroups: [lineside.dev]
  resources: [deviceconnections/status, pipelines/status, sinks/status, agentpools/status]
  verbs: [patch]
- apiGroups: [lineside.dev]
  resources: [agents]
  verbs: [list, watch, create, patch, delete]
# The children of an Agent. They go with it, so only spare ConfigMaps are deleted; what those
# hold is not kept in memory, but read when it is needed.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [serviceaccounts, persistentvolumeclaims]
  verbs: [list, watch, create, patch]
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [list, watch, create, patch]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [list, watch, create, patch]
- apiGroups: [rbac.authorization.k8s.io]
  resources: [rolebindings]
  verbs: [list, watch, create, patch]
- apiGroups: [rbac.authorization.k8s.io]
  resources: [clusterroles]
  resourceNames: [lineside-agent]
  verbs: [bind]
# Whether the namespace is being deleted.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
# Pods of agents: why they do not run; the mark after which the kubelet looks at once; restart.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, patch, delete]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{/* Those on objects that are in no namespace. */}}
{{- define "lineside.rules.cluster" -}}
- apiGroups: [""]
  resources: [nodes]
  verbs: [list, watch]
{{- end -}}
