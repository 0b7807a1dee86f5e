-- ARGV: epoch, worker, heartbeat or ''
-- Removes a worker from the registry; with a heartbeat only if it gave no sign of life since. No head: in a state that
-- went back in time there is nothing to keep.
local META = KEYS[1]
if redis.call('HGET', META, 'epoch') ~= ARGV[1] then return 0 end
local field = 'n:' .. ARGV[2]
local heartbeat = string.match(redis.call('HGET', META, field) or '', '(%d+)$')
if ARGV[3] ~= '' and heartbeat ~= ARGV[3] then return 0 end
return redis.call('HDEL', META, field)
