"""How Argo CD is told to read the health of a ServiceRollout, of which it knows nothing by itself."""

from rollout.core.documents import SERVICE_ROLLOUT

KEY = f"resource.customizations.health.{SERVICE_ROLLOUT.group}_{SERVICE_ROLLOUT.name}"
"""Where its ConfigMap argocd-cm has it."""
SCRIPT = """\
if obj.status == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  return {status = "Progressing", message = "the controller has not seen this spec yet"}
end
local is = {}
for _, one in ipairs(obj.status.conditions or {}) do
  is[one.type] = one
end
local function as(kind, status)
  return {status = status, message = is[kind] ~= nil and is[kind].message or ""}
end
local function holds(kind)
  return is[kind] ~= nil and is[kind].status == "True"
end
if holds("Stalled") then
  return as("Stalled", "Degraded")
elseif holds("Reconciling") then
  return as("Reconciling", "Progressing")
elseif obj.spec.suspend then
  return as("Ready", "Suspended")
elseif holds("Ready") then
  return as("Ready", "Healthy")
end
return as("Ready", "Progressing")
"""
"""What Argo CD runs, in Lua 5.1 with its base library alone: `obj` is the object, and what returns its health.

What was found of an older spec says nothing of this one, so it comes first: else a sync that mends a stalled object
would fail for what it mends. Of an object that is being deleted Argo CD does not ask.
"""


def patch() -> dict[str, dict[str, str]]:
    """What to merge into argocd-cm, as data."""
    return {"data": {KEY: SCRIPT}}


def told() -> str:
    """The same as YAML, in which people can read the script."""
    return "\n".join(["data:", f"  {KEY}: |", *(f"    {line}" for line in SCRIPT.splitlines())])
