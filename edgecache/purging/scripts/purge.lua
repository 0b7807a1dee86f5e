-- ARGV: nonce, epoch, applied, release, capacity, channel, idempotency key or '', digest, then kind and value of each
-- selector
local epoch, seq, floor, release = head(ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4])
local capacity, channel, key, digest = tonumber(ARGV[5]), ARGV[6], ARGV[7], ARGV[8]

local function answer(outcome, number)
  return {outcome, epoch, text(number), release, redis.call('HGET', META, 'settled') or '0', members()}
end

local fields = {}
if key ~= '' then
  local before, of = string.match(redis.call('HGET', ONCE, key) or '', '^(%d+) (.*)$')
  if before then
    -- Written again: WAIT asks the replicas about the last write of this connection, and that of the purge was another's.
    redis.call('HSET', ONCE, key, before .. ' ' .. of)
    return answer(of == digest and 'committed' or 'conflict', tonumber(before))
  end
  redis.call('HSET', ONCE, key, text(seq + 1) .. ' ' .. digest)
  fields = {'once', key}
end
for i = 9, #ARGV do fields[#fields + 1] = ARGV[i] end
return answer('committed', append(seq, floor, capacity, channel, fields))
