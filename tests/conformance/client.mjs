// Runs the suite's client and writes what it found, unjudged: the tests as data, and a result for each one run.
// Usage: node client.mjs PACKAGE_DIRECTORY OUTPUT_FILE [BASE_URL [TEST_ID]]; without a base nothing is run.
import { writeFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'

const [root, output, base, wanted] = process.argv.slice(2)
const load = path => import(pathToFileURL(`${root}/${path}`))

const suites = [...(await load('tests/index.mjs')).default, (await load('tests/surrogate-control.mjs')).default]
const tests = suites.flatMap(suite => suite.tests.map(test => ({
  id: test.id,
  suite: suite.id,
  name: test.name,
  kind: test.kind ?? 'required',
  depends_on: wanted ? [] : test.depends_on ?? [],  // they are not run with it
  browser_only: test.browser_only === true
})))

let results = {}
if (base) {
  // node-fetch, as in the suite's own command line: the fetch built into node forbids some of the fields.
  const fetch = (await load('../node-fetch/lib/index.mjs')).default
  const { runTests, getResults } = await load('client/runner.mjs')
  const chosen = suites.map(suite => ({ ...suite, tests: suite.tests.filter(test => !wanted || test.id === wanted) }))
  if (wanted) chosen.forEach(suite => suite.tests.forEach(test => { test.dump = true }))
  await runTests(chosen, fetch, false, base)
  results = getResults()
}
writeFileSync(output, JSON.stringify({ tests, results }))
