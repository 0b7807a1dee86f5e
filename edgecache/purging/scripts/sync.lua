-- ARGV: nonce, epoch, applied, release, worker, lease, settled, sure, page, census
local epoch, seq, floor, release = head(ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4])
local same = epoch == ARGV[2]
local applied = same and tonumber(ARGV[3]) or 0

-- What it had applied before this call: the registry never runs ahead of what a process does.
local field = 'n:' .. ARGV[5]
local heartbeat = tonumber(string.match(redis.call('HGET', META, field) or '', '(%d+)$')) or 0
redis.call('HSET', META, field, text(applied) .. ' ' .. ARGV[6] .. ' ' .. text(heartbeat + 1))
if same and ARGV[7] == '1' then redis.call('HSET', META, 'settled', '1') end
if same and ARGV[8] == '1' then redis.call('HSET', META, 'sure', '1') end

local after = text(math.max(applied, floor)) .. '-0'
local entries = redis.call('XRANGE', LOG, '(' .. after, '+', 'COUNT', tonumber(ARGV[9]))
local said = redis.call('HMGET', META, 'settled', 'sure')
return {epoch, text(seq), text(floor), release, said[1] or '0', said[2] or '0', entries,
  ARGV[10] == '1' and members() or {}}
