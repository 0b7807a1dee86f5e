-- ARGV: nonce, epoch, applied, release, capacity, channel, name, 'active' or 'held'
--
-- The entry makes everybody look at the register, and whoever has applied the entry has seen it. The register stays
-- when the entry is trimmed. An activation is later than whatever was acknowledged before it was ordered, so from here
-- on the epoch is sure of its release.
local epoch, seq, floor, release = head(ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4])
local name = ARGV[7]
local active, previous = string.match(release, '^%d+ (%S+) %S+ (%S+)$')
if name ~= active then previous = active end
local now = tonumber(string.match(SERVER, 'server_time_usec:(%d+)')) or 0
release = table.concat({text(math.max(now, age(release) + 1)), name, ARGV[8], previous}, ' ')
redis.call('HSET', META, 'release', release, 'sure', '1')
seq = append(seq, floor, tonumber(ARGV[5]), ARGV[6], {'release', name})
return {'committed', epoch, text(seq), release, redis.call('HGET', META, 'settled') or '0', members()}
