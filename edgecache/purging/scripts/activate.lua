-- ARGV: nonce, epoch, applied, release, capacity, channel, name, 'active' or 'held'
--
-- The entry makes everybody look at the register, and whoever has applied the entry has seen it. The register stays
-- when the entry is trimmed. An activation is later than whatever was acknowledged before it was ordered, so from here
-- on the epoch is sure of its release.
--
-- Only who knows the epoch and the active release may replace it: this call may come late, given up by its caller, and
-- somebody else may have activated another since, be it in a log that was lost.
local epoch, seq, floor, release = head(ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4])
local name = ARGV[7]

local function answer(outcome, number)
  return {outcome, epoch, text(number), release, redis.call('HGET', META, 'settled') or '0', members()}
end

if epoch ~= ARGV[2] or age(release) > age(ARGV[4]) then return answer('overtaken', seq) end
local active, previous = string.match(release, '^%d+ (%S+) %S+ (%S+)$')
if name ~= active then previous = active end
local now = tonumber(string.match(SERVER, 'server_time_usec:(%d+)')) or 0
release = table.concat({text(math.max(now, age(release) + 1)), name, ARGV[8], previous}, ' ')
redis.call('HSET', META, 'release', release, 'sure', '1')
return answer('committed', append(seq, floor, tonumber(ARGV[5]), ARGV[6], {'release', name}))
