{{- define "rollout.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "rollout.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains (include "rollout.name" .) .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "rollout.name" .) | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "rollout.drain" -}}
{{- printf "%s-drain" (include "rollout.fullname" . | trunc 57 | trimSuffix "-") }}
{{- end }}

{{- define "rollout.selector" -}}
app.kubernetes.io/name: {{ include "rollout.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "rollout.labels" -}}
{{ include "rollout.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "rollout.account" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "rollout.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "name the account: serviceAccount.name, where serviceAccount.create is false" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "rollout.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{- define "rollout.subject" -}}
- kind: ServiceAccount
  name: {{ include "rollout.account" . }}
  namespace: {{ .Release.Namespace | quote }}
{{- end }}

{{/* What a rollout asks of the namespaces that it looks after. A test holds this against the engine's own table. */}}
{{- define "rollout.rules" -}}
- apiGroups: [rollout.dev]
  resources: [servicerollouts]
  verbs: [get, list, watch, patch]
- apiGroups: [rollout.dev]
  resources: [servicerollouts/status]
  verbs: [patch]
- apiGroups: [networking.istio.io]
  resources: [virtualservices]
  verbs: [get, list, watch, patch, delete{{ if .Values.drills }}, create{{ end }}]
- apiGroups: [networking.istio.io]
  resources: [destinationrules]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [get, list]
- apiGroups: [""]
  resources: [events]
  verbs: [create]
{{- if or .Values.triggers .Values.scaling.enabled }}
- apiGroups: [apps]
  resources: [deployments]
  verbs: [list{{ if .Values.triggers }}, watch{{ end }}{{ if .Values.scaling.enabled }}, patch{{ end }}]
{{- end }}
{{- if .Values.scaling.enabled }}
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [list, patch]
{{- end }}
{{- if .Values.secrets }}
- apiGroups: [""]
  resources: [secrets]
  verbs: [get]
{{- end }}
{{- end }}

{{- define "rollout.arguments" -}}
- controller
{{- range .Values.namespaces }}
- --namespace={{ . }}
{{- end }}
{{- with .Values.selector }}
- {{ printf "--selector=%s" . | quote }}
{{- end }}
{{- if not .Values.prometheus.secret.name }}
- {{ printf "--prometheus=%s" (required "say where the mesh's metrics are: prometheus.url" .Values.prometheus.url) | quote }}
{{- end }}
- --lease-namespace={{ .Release.Namespace }}
{{- end }}

{{- define "rollout.environment" -}}
{{- with .Values.prometheus.secret }}
{{- if .name -}}
env:
  - name: ROLLOUT_PROMETHEUS
    valueFrom:
      secretKeyRef: {name: {{ .name | quote }}, key: {{ .key | quote }}}
{{- end }}
{{- end }}
{{- end }}

{{/* Of every pod of ours. */}}
{{- define "rollout.pod" -}}
serviceAccountName: {{ include "rollout.account" . }}
automountServiceAccountToken: true
enableServiceLinks: false
terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Of every container of ours. */}}
{{- define "rollout.bounds" -}}
resources: {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}
