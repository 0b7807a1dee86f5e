// The suite's origin server, on the loopback interface only (it would listen on all of them).
// Usage: npm_config_protocol=http npm_config_port=0 npm_config_pidfile=FILE node origin.mjs PACKAGE_DIRECTORY
import http from 'node:http'
import { pathToFileURL } from 'node:url'

const listen = http.Server.prototype.listen
http.Server.prototype.listen = function (port) {
  return listen.call(this, Number(port), '127.0.0.1')
}

await import(pathToFileURL(`${process.argv[2]}/server/server.mjs`))
