// The files of deploy/ and the Dockerfile name settings, metrics, paths and durations. Each must exist in the server.

import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, test } from 'node:test'
import { parse, parseAllDocuments } from 'yaml'
import { readConfig } from '../src/config.js'
import { Metrics } from '../src/http/metrics.js'
import { Lifecycle } from '../src/http/services.js'
import { version } from '../src/package.js'
import { environmentVariableOf, settingNames, settings } from '../src/settings.js'
import { root } from './material.js'
import { parsePromql } from './promql.js'

const text = (path: string) => readFileSync(join(root, 'deploy', path), 'utf8')
const yaml = <T>(path: string) => parse(text(path), { merge: true }) as T

interface ComposeService {
  readonly image?: string
  readonly build?: { readonly context: string; readonly target: string }
  readonly environment?: Record<string, string>
  readonly volumes?: readonly string[]
  readonly depends_on?: readonly string[] | Record<string, { condition: string }>
  readonly stop_grace_period?: string
}
interface Compose {
  readonly services: Record<string, ComposeService>
  readonly volumes: Record<string, null>
}

const variables = new Set(settingNames.map(environmentVariableOf))
/** The names of settings that a text contains. */
const settingsIn = (page: string) => [...page.matchAll(/\bPROPETL_[A-Z_]+\b/g)].map(([name]) => name)

const { registry } = new Metrics(new Lifecycle(), 1)
const exported = new Set((await registry.getMetricsAsJSON()).map(({ name }) => name))
/** The metric of a series: Prometheus adds a suffix for histograms. */
const metricOf = (name: string) => (exported.has(name) ? name : name.replace(/_(bucket|sum|count)$/, ''))

/** A series, and labels of all series, that Prometheus adds itself. */
const ofScrapes = { series: 'up', labels: ['job', 'instance', 'namespace', 'pod'] }

/** The metrics of an expression. Asserts that the server has each of them, with the labels that are used. */
function metricsIn(expression: string): string[] {
  const { selectors, grouped } = parsePromql(expression)
  const known = new Set(ofScrapes.labels)
  for (const { metric, matchers } of selectors.filter(({ metric }) => metric !== ofScrapes.series)) {
    assert.ok(exported.has(metricOf(metric)), `${metric} is a metric`)
    const own = (registry.getSingleMetric(metricOf(metric)) as unknown as { labelNames: string[] }).labelNames
    const labels = new Set([...ofScrapes.labels, ...own, ...(metric.endsWith('_bucket') ? ['le'] : [])])
    for (const label of labels) known.add(label)
    for (const { label } of matchers) assert.ok(labels.has(label), `${metric} has the label ${label}`)
  }
  for (const label of grouped) assert.ok(known.has(label), `${label} is a label of ${expression}`)
  return selectors.map(({ metric }) => metricOf(metric))
}

test('the images run the server under an init, which forwards signals', () => {
  const image = readFileSync(join(root, 'Dockerfile'), 'utf8')
  const [, ...stages] = image.split(/^FROM /m)
  const runtimeStages = stages.filter((stage) => / AS (cpu|cuda)\n/.test(stage))
  assert.equal(runtimeStages.length, 2)
  for (const stage of runtimeStages) {
    // A shell would run a string instead of a list, and would not forward signals.
    assert.deepEqual(stage.match(/^(ENTRYPOINT|CMD) .*$/gm), [
      'ENTRYPOINT ["tini", "-s", "--", "node", "dist/cli.js"]',
      'CMD ["serve"]',
    ])
    assert.match(stage, /apt-get install -y --no-install-recommends tini /)
  }
})

describe('compose files', () => {
  for (const path of ['compose.yaml', 'replicas/compose.yaml']) {
    const { services, volumes } = yaml<Compose>(path)
    const folder = join(root, 'deploy', dirname(path))

    test(`${path} names only files, volumes, services and settings that exist`, () => {
      for (const [name, service] of Object.entries(services)) {
        assert.ok(service.image?.includes(':') || service.build, `${name} has an image with a version, or is built`)
        if (service.build) {
          const dockerfile = readFileSync(join(folder, service.build.context, 'Dockerfile'), 'utf8')
          assert.match(dockerfile, new RegExp(` AS ${service.build.target}$`, 'm'))
        }
        for (const volume of service.volumes ?? []) {
          const [source = '', target] = volume.split(':')
          if (source.startsWith('.')) assert.ok(existsSync(join(folder, source)), `${source} exists`)
          else if (target !== undefined) assert.ok(Object.hasOwn(volumes, source), `${source} is a volume`)
        }
        const others = Array.isArray(service.depends_on) ? service.depends_on : Object.keys(service.depends_on ?? {})
        for (const other of others) assert.ok(Object.hasOwn(services, other))
      }
      for (const name of settingsIn(text(path))) assert.ok(variables.has(name as never), `${name} is a setting`)
    })

    test(`${path} lets the server finish its shutdown`, () => {
      const seconds = Number(services.propetl?.stop_grace_period?.replace('s', ''))
      assert.ok(seconds * 1000 > settings.shutdownTimeoutMs.value)
    })
  }

  test('nginx and Prometheus find the replicas, and Grafana finds Prometheus', () => {
    const { services } = yaml<Compose>('replicas/compose.yaml')
    assert.match(text('replicas/nginx.conf'), /server propetl:8080 resolve;/)
    const { scrape_configs } = yaml<{
      scrape_configs: { dns_sd_configs: { names: string[]; port: number }[] }[]
    }>('replicas/prometheus.yml')
    assert.deepEqual(
      scrape_configs.flatMap(({ dns_sd_configs }) => dns_sd_configs.map(({ names, port }) => [...names, port])),
      [['propetl', settings.port.value]],
    )
    const { datasources } = yaml<{ datasources: { uid: string; url: string }[] }>('replicas/grafana/datasource.yaml')
    assert.ok(Object.hasOwn(services, new URL(datasources[0]?.url ?? '').hostname))
    assert.ok(text('grafana-dashboard.json').includes(`"uid": "${datasources[0]?.uid}"`))
  })
})

describe('the Grafana dashboard', () => {
  test('shows every metric of the server, and no unknown ones', () => {
    const { panels } = JSON.parse(text('grafana-dashboard.json')) as { panels: { targets: { expr: string }[] }[] }
    const asked = panels.flatMap(({ targets }) =>
      targets.flatMap(({ expr }) => metricsIn(expr.replaceAll('$__rate_interval', '1m'))),
    )
    assert.ok(asked.length > 20)
    const own = [...exported].filter((name) => name.startsWith('propetl_') && !/_info$|cache_tasks$/.test(name))
    for (const name of own) assert.ok(asked.includes(name), `${name} is on the dashboard`)
  })
})

describe('the alert rules', () => {
  interface Rule {
    readonly alert: string
    readonly expr: string
    readonly labels: { readonly severity: string }
    readonly annotations: { readonly summary: string; readonly runbook: string }
  }
  const { groups } = yaml<{ groups: { rules: Rule[] }[] }>('prometheus-rules.yaml')
  const rules = groups.flatMap(({ rules }) => rules)

  test('use only metrics, labels and routes of the server', () => {
    const { paths } = JSON.parse(readFileSync(join(root, 'openapi/openapi.json'), 'utf8')) as { paths: object }
    const routes = Object.keys(paths).map((path) => path.replaceAll(/\{(\w+)\}/g, ':$1'))
    for (const { alert, expr } of rules) {
      assert.ok(metricsIn(expr).length > 0, alert)
      for (const { label, value } of parsePromql(expr).selectors.flatMap(({ matchers }) => matchers))
        if (label === 'route')
          for (const pattern of value.split('|'))
            assert.ok(
              routes.some((route) => new RegExp(`^(?:${pattern})$`).test(route)),
              `${pattern} is a route`,
            )
    }
  })

  test('have a severity, a description and a link to the operations page', () => {
    const page = readFileSync(join(root, 'docs/operations.md'), 'utf8')
    const anchors = [...page.matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) =>
      heading
        .toLowerCase()
        .replaceAll(/[^\w\- ]/g, '')
        .replaceAll(' ', '-'),
    )
    assert.equal(new Set(rules.map(({ alert }) => alert)).size, rules.length)
    for (const { alert, labels, annotations } of rules) {
      assert.match(labels.severity, /^(critical|warning)$/)
      assert.ok(annotations.summary.length > 0)
      const [file, anchor = ''] = annotations.runbook.split('#')
      assert.equal(file, 'docs/operations.md')
      assert.ok(anchors.includes(anchor), `${alert}: ${anchor} is a heading`)
      assert.ok(
        page.includes(`| \`${alert}\` | ${labels.severity} |`),
        `${alert} is in the page's table as ${labels.severity}`,
      )
    }
  })

  test('are loaded by the Prometheus of the compose file, with the job name that they use', () => {
    const { services } = yaml<Compose>('replicas/compose.yaml')
    const { rule_files, scrape_configs } = yaml<{ rule_files: string[]; scrape_configs: { job_name: string }[] }>(
      'replicas/prometheus.yml',
    )
    assert.deepEqual(
      rule_files.map((file) => `../prometheus-rules.yaml:/etc/prometheus/${file}:ro`),
      services.prometheus?.volumes?.filter((volume) => volume.includes('rules')),
    )
    const jobs = rules.flatMap(({ expr }) =>
      parsePromql(expr).selectors.flatMap(({ matchers }) => matchers.filter(({ label }) => label === 'job')),
    )
    assert.ok(jobs.length > 0)
    for (const { value } of jobs) assert.ok(scrape_configs.some(({ job_name }) => job_name === value))
  })

  test('are checked by a parser that rejects invalid PromQL', () => {
    for (const wrong of ['rate(propetl_ready[5m]', 'sum(propetl_ready) by', 'propetl_ready >', 'rats(propetl_ready)'])
      assert.throws(() => metricsIn(wrong))
    for (const wrong of ['propetl_gone', 'propetl_ready{tenant="a"}', 'sum by (reason) (propetl_ready)'])
      assert.throws(() => metricsIn(wrong), assert.AssertionError)
  })
})

describe('Kubernetes manifests', () => {
  interface Probe {
    readonly httpGet: { readonly path: string; readonly port: string }
  }
  interface Container {
    readonly env: readonly { name: string; value?: string }[]
    readonly ports: readonly { name: string; containerPort: number }[]
    readonly readinessProbe: Probe
    readonly livenessProbe: Probe
    readonly lifecycle: { readonly preStop: { readonly exec: { readonly command: readonly string[] } } }
    readonly volumeMounts: readonly { mountPath: string }[]
  }
  const { spec } = yaml<{
    spec: {
      selector: { matchLabels: Record<string, string> }
      template: { spec: { terminationGracePeriodSeconds: number; containers: [Container] } }
    }
  }>('kubernetes/deployment.yaml')
  const [container] = spec.template.spec.containers

  test('are in the kustomization, have the version of the package, and select the same pods', () => {
    const { images, resources } = yaml<{ images: { newTag: string }[]; resources: string[] }>(
      'kubernetes/kustomization.yaml',
    )
    assert.deepEqual(
      images.map(({ newTag }) => newTag),
      [version],
    )
    for (const resource of resources) assert.ok(existsSync(join(root, 'deploy/kubernetes', resource)))
    const selected = JSON.stringify(spec.selector.matchLabels)
    for (const path of ['service', 'disruption-budget', 'network-policy'])
      assert.ok(JSON.stringify(yaml(`kubernetes/${path}.yaml`)).includes(selected), path)
  })

  test('name only settings, paths and folders of the server', () => {
    for (const { name } of container.env) assert.ok(variables.has(name as never), `${name} is a setting`)
    assert.deepEqual(
      container.ports.map(({ containerPort }) => containerPort),
      [settings.port.value],
    )
    const { paths } = JSON.parse(readFileSync(join(root, 'openapi/openapi.json'), 'utf8')) as { paths: object }
    for (const { httpGet } of [container.readinessProbe, container.livenessProbe]) {
      assert.ok(Object.hasOwn(paths, httpGet.path))
      assert.equal(httpGet.port, container.ports[0]?.name)
    }
    const image = readFileSync(join(root, 'Dockerfile'), 'utf8')
    assert.match(image, /PROPETL_DATA_DIR=\/data/)
    assert.ok(container.volumeMounts.some(({ mountPath }) => mountPath === '/data'))
    assert.match(text('kubernetes/secret.example.yaml'), /name: propetl-database\n.*\n {2}url: postgres:\/\//)
  })

  test('start in a namespace with a Service called propetl, whose links would set PROPETL_PORT', () => {
    /** The pod specs within a value: the objects with containers. */
    const podsIn = (value: unknown): Record<string, unknown>[] => {
      if (typeof value !== 'object' || value === null) return []
      const inner = Object.values(value).flatMap(podsIn)
      return 'containers' in value ? [{ ...value }, ...inner] : inner
    }
    const manifests = readdirSync(join(root, 'deploy/kubernetes')).filter((name) => name.endsWith('.yaml'))
    const pods = manifests.flatMap((name) =>
      parseAllDocuments(text(`kubernetes/${name}`)).flatMap((document) => podsIn(document.toJS())),
    )
    assert.ok(pods.length > 0)
    for (const pod of pods) assert.equal(pod.enableServiceLinks, false)
    const { metadata } = yaml<{ metadata: { name: string } }>('kubernetes/service.yaml')
    const link = `${metadata.name.toUpperCase()}_PORT`
    assert.throws(() => readConfig({}, { [link]: 'tcp://10.96.14.7:80' }), { code: 'invalid_setting' })
  })

  test('let the server finish its shutdown', () => {
    const [, waits] = container.lifecycle.preStop.exec.command
    const shutdownMs = Number(container.env.find(({ name }) => name === 'PROPETL_SHUTDOWN_TIMEOUT_MS')?.value)
    assert.ok(spec.template.spec.terminationGracePeriodSeconds * 1000 > Number(waits) * 1000 + shutdownMs)
  })

  test("scale on a metric that the adapter's rule derives from one of the server", () => {
    const scaler = yaml<{ spec: { metrics: { pods: { metric: { name: string } } }[] } }>('kubernetes/autoscaler.yaml')
    const { rules } = yaml<{
      rules: { custom: { seriesQuery: string; name: { as: string }; metricsQuery: string }[] }
    }>('kubernetes/prometheus-adapter-values.yaml')
    assert.deepEqual(
      scaler.spec.metrics.map(({ pods }) => pods.metric.name),
      rules.custom.map(({ name }) => name.as),
    )
    for (const { seriesQuery, metricsQuery } of rules.custom)
      for (const query of [seriesQuery, metricsQuery])
        assert.ok(
          metricsIn(query.replaceAll('<<.LabelMatchers>>', 'pod="a"').replaceAll('<<.GroupBy>>', 'pod')).length > 0,
        )
  })
})
