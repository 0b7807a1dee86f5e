-- Before every script: is this still the Redis, and the state, that gave out the epoch?
--
-- Not so after a restart, a promotion, a flush, an eviction or a deletion, nor when the caller has applied more than
-- is known here. Then a new epoch begins inside this very script: nobody ever reads, purges or registers in
-- a state that went back in time.
--
-- meta  hash    epoch, seq, floor, ident, held, settled, n:<worker> = "<applied> <lease ms | inf> <heartbeat>"
-- log   stream  <seq>-0: [once <key>] then kind and value of each selector; exactly the entries in (floor, seq]
-- once  hash    idempotency key -> "<seq> <digest of the selectors>", as long as the entry is in the log

local META, LOG, ONCE = KEYS[1], KEYS[2], KEYS[3]

local function text(number)
  return string.format('%.0f', number)
end

-- The run id changes at a restart, the replication id at a promotion and when another's data was loaded.
local function ident()
  local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  local replication = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
  return run .. ':' .. replication
end

local function is_whole(meta, id)
  local seq, floor = tonumber(meta[2]), tonumber(meta[3])
  if not (meta[1] and seq and floor and tonumber(meta[5]) and meta[4] == id) then return false end
  if redis.call('XLEN', LOG) ~= seq - floor then return false end
  if seq == floor then return true end
  return redis.call('XREVRANGE', LOG, '+', '-', 'COUNT', 1)[1][1] == text(seq) .. '-0'
end

-- Returns epoch, seq and floor, rotated if need be. `nonce` becomes the epoch then: it is never used twice.
local function head(nonce, epoch, applied)
  local id = ident()
  local meta = redis.call('HMGET', META, 'epoch', 'seq', 'floor', 'ident', 'held')
  local known = meta[1] == epoch and applied or 0
  local seq = tonumber(meta[2]) or 0
  if is_whole(meta, id) and known <= seq then return meta[1], seq, tonumber(meta[3]) end
  seq = math.max(seq, known) + 1
  redis.call('DEL', META, LOG, ONCE)
  redis.call('HSET', META, 'epoch', nonce, 'seq', text(seq), 'floor', text(seq), 'ident', id, 'held', '0')
  return nonce, seq, seq
end

local function members()
  local found = {}
  local fields = redis.call('HGETALL', META)
  for i = 1, #fields, 2 do
    if string.sub(fields[i], 1, 2) == 'n:' then
      found[#found + 1] = string.sub(fields[i], 3)
      found[#found + 1] = fields[i + 1]
    end
  end
  return found
end
