-- ARGV: nonce, epoch, applied, worker, lease, settled, page, census
local epoch, seq, floor = head(ARGV[1], ARGV[2], tonumber(ARGV[3]))
local same = epoch == ARGV[2]
local applied = same and tonumber(ARGV[3]) or 0

-- What it had applied before this call: the registry never runs ahead of what a process does.
local field = 'n:' .. ARGV[4]
local heartbeat = tonumber(string.match(redis.call('HGET', META, field) or '', '(%d+)$')) or 0
redis.call('HSET', META, field, text(applied) .. ' ' .. ARGV[5] .. ' ' .. text(heartbeat + 1))
if same and ARGV[6] == '1' then redis.call('HSET', META, 'settled', '1') end

local after = text(math.max(applied, floor)) .. '-0'
local entries = redis.call('XRANGE', LOG, '(' .. after, '+', 'COUNT', tonumber(ARGV[7]))
local settled = redis.call('HGET', META, 'settled') or '0'
return {epoch, text(seq), text(floor), settled, entries, ARGV[8] == '1' and members() or {}}
