-- After head, before what writes: one more entry. The log is bounded in selectors, as every index is that follows it;
-- what is forgotten raises the floor.

local function selectors(fields)
  return #fields / 2 - (fields[1] == 'once' and 1 or 0)
end

-- Returns the sequence of the entry. `fields` are pairs, perhaps with an idempotency key as the first.
local function append(seq, floor, capacity, channel, fields)
  seq = seq + 1
  redis.call('XADD', LOG, text(seq) .. '-0', unpack(fields))
  local held = tonumber(redis.call('HGET', META, 'held')) + selectors(fields)
  while held > capacity and floor < seq do
    for _, oldest in ipairs(redis.call('XRANGE', LOG, '(' .. text(floor) .. '-0', '+', 'COUNT', 64)) do
      if held <= capacity then break end
      held = held - selectors(oldest[2])
      if oldest[2][1] == 'once' then redis.call('HDEL', ONCE, oldest[2][2]) end
      floor = tonumber(string.match(oldest[1], '^%d+'))
    end
  end
  redis.call('XTRIM', LOG, 'MINID', text(floor + 1) .. '-0')
  redis.call('HSET', META, 'seq', text(seq), 'floor', text(floor), 'held', text(held))
  redis.pcall('PUBLISH', channel, text(seq)) -- a hint: without the permission others learn of it a little later
  return seq
end
