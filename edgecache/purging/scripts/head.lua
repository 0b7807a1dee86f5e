-- Before every script: is this still the Redis, and the state, that gave out the epoch?
--
-- Not so after a restart, a promotion, a flush, an eviction or a deletion, nor when the caller has applied more, or
-- heard of a newer release, than is known here. Then a new epoch begins inside this very script: nobody ever reads,
-- purges or registers in a state that went back in time. Of what was, it keeps one thing: the newer of the two
-- releases, the caller's and the one that is written here. So within an epoch only an activation changes the release.
--
-- meta  hash    epoch, seq, floor, ident, held, settled, n:<worker> = "<applied> <lease ms | inf> <heartbeat>",
--               release = "<sequence> <name | -> <active | held> <previous | ->", the active one,
--               sure = 1 when no newer one was ever acknowledged (purging/node.py)
-- log   stream  <seq>-0: [once <key>] then kind and value of each selector, or release and its name; exactly the
--               entries in (floor, seq]
-- once  hash    idempotency key -> "<seq> <digest of the selectors>", as long as the entry is in the log

local META, LOG, ONCE = KEYS[1], KEYS[2], KEYS[3]
local SERVER = redis.call('INFO', 'server')

local function text(number)
  return string.format('%.0f', number)
end

-- The run id changes at a restart, the replication id at a promotion and when another's data was loaded.
local function ident()
  local run = string.match(SERVER, 'run_id:(%x+)')
  local replication = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
  return run .. ':' .. replication
end

-- When a release was activated; 0 if it never was, or if the state was written by a make that knows of none.
local function age(release)
  return tonumber(string.match(release or '', '^%d+')) or 0
end

local function is_whole(meta, id)
  local seq, floor = tonumber(meta[2]), tonumber(meta[3])
  if not (meta[1] and seq and floor and tonumber(meta[5]) and meta[4] == id) then return false end
  if redis.call('XLEN', LOG) ~= seq - floor then return false end
  if seq == floor then return true end
  return redis.call('XREVRANGE', LOG, '+', '-', 'COUNT', 1)[1][1] == text(seq) .. '-0'
end

-- Returns epoch, seq, floor and release, rotated if need be. `nonce` becomes the epoch then: it is never used twice.
local function head(nonce, epoch, applied, release)
  local id = ident()
  local meta = redis.call('HMGET', META, 'epoch', 'seq', 'floor', 'ident', 'held', 'release')
  local known = meta[1] == epoch and applied or 0
  local seq = tonumber(meta[2]) or 0
  local is_newer = age(release) > age(meta[6])
  if is_whole(meta, id) and known <= seq and not is_newer then
    return meta[1], seq, tonumber(meta[3]), meta[6] or release
  end
  seq = math.max(seq, known) + 1
  if not is_newer then release = meta[6] or release end
  redis.call('DEL', META, LOG, ONCE)
  redis.call('HSET', META, 'epoch', nonce, 'seq', text(seq), 'floor', text(seq), 'ident', id, 'held', '0',
    'release', release)
  return nonce, seq, seq, release
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
