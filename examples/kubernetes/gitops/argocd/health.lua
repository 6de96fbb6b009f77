-- Health of DeviceConnection, Pipeline, Sink and AgentPool for Argo CD. What Argo CD knows:
-- Healthy, Progressing, Degraded, Suspended, Unknown.
local status = obj.status
local generation = obj.metadata.generation
if status == nil or status.conditions == nil or status.observedGeneration ~= generation then
  return {status = "Progressing", message = "Waiting for the operator to look at it"}
end

local conditions = {}
for _, condition in ipairs(status.conditions) do
  conditions[condition.type] = condition
end

local function is(kind, value)
  return conditions[kind] ~= nil and conditions[kind].status == value
end

local function say(health)
  local ready = conditions.Stalled or conditions.Ready or {}
  local message = ready.message
  if message == nil or message == "" then
    message = ready.reason or ""
  end
  if status.code ~= nil and status.code ~= "" and not string.find(message, status.code, 1, true) then
    message = status.code .. " " .. message
  end
  return {status = health, message = message}
end

-- It cannot get better without an edit.
if is("Stalled", "True") then
  return say("Degraded")
end
if is("Ready", "True") then
  local reason = conditions.Ready.reason
  if reason == "Suspended" then
    return say("Suspended")
  end
  -- A device that may be switched off is off: as it should be.
  if reason ~= "DeviceOff" and (status.health == "Degraded" or status.health == "Unavailable") then
    return say("Degraded")
  end
  return say("Healthy")
end
if is("Reconciling", "True") then
  return say("Progressing")
end
-- Nobody knows, because nothing is heard of the agent.
if is("Ready", "Unknown") and conditions.Ready.reason == "AgentSilent" then
  return say("Unknown")
end
-- It runs, and the device or the sink is what is wrong. A Sink itself runs nowhere.
local ready = conditions.Ready or {}
local runs = is("Programmed", "True")
  or (conditions.Programmed == nil and ready.reason ~= "AgentNotRunning")
if runs and (status.health == "Degraded" or status.health == "Unavailable") then
  return say("Degraded")
end
return say("Progressing")
