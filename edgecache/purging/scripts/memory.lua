-- What this server says of its memory. As a script, so that in a cluster the one that has the log is asked.
return redis.call('INFO', 'memory')
