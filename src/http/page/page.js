'use strict';

// ---------------------------------------------------------------------------------------------------------- elements

const SVG = 'http://www.w3.org/2000/svg';

// An element with a class and children; text goes in as text.
function el(tag, kind, ...children) {
  const made = document.createElement(tag);
  if (kind) made.className = kind;
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function svg(tag, attributes, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function titled(made, title) {
  made.title = title;
  return made;
}

const place = (id) => document.getElementById(id);

// Fills a section's last element, or hides the section where there is nothing to show.
function fill(id, made) {
  const section = place(id);
  section.classList.toggle('none', made.length === 0);
  section.lastElementChild.replaceChildren(...made);
}

// ----------------------------------------------------------------------------------------------------------- numbers

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });

function count(value) {
  return Math.abs(value) < 100000 ? whole.format(value) : short.format(value);
}

function rate(value) {
  if (value === 0) return '0';
  return value < 10 ? value.toPrecision(2) : count(value);
}

function time(seconds) {
  if (seconds === null || seconds === undefined) return '–';
  const sign = seconds < 0 ? '−' : '';
  const size = Math.abs(seconds);
  if (size === 0) return '0 s';
  if (size < 0.001) return sign + (size * 1e6).toFixed(0) + ' µs';
  if (size < 1) return sign + (size * 1e3).toPrecision(size < 0.1 ? 2 : 3) + ' ms';
  if (size < 60) return sign + size.toPrecision(size < 10 ? 2 : 3) + ' s';
  if (size < 3600) return sign + Math.floor(size / 60) + ' min ' + Math.floor(size % 60) + ' s';
  if (size < 86400) return sign + Math.floor(size / 3600) + ' h ' + Math.floor((size % 3600) / 60) + ' min';
  return sign + Math.floor(size / 86400) + ' d ' + Math.floor((size % 86400) / 3600) + ' h';
}

const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString([], { hour12: false });

// What a series is called among those of its metric: the values alone, and of these what tells it from the others.
function names(series) {
  const isTold = (at) => series.length < 2 || series.some((one) => one.labels[at]?.[1] !== series[0].labels[at]?.[1]);
  return series.map((one) => one.labels.filter((_, at) => isTold(at)).map(([, value]) => value).join(' · ') || 'all');
}

// The first sentence of a metric's help.
const about = (metric) => metric.help.split(/\.(?:\s|$)/)[0] || metric.name;

// Bytes have their unit.
const amount = (name, value, how) => (/_bytes(_total)?$/.test(name) ? bytes(value) : how(value));

function bytes(value) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let at = 0;
  while (value >= 1000 && at < units.length - 1) [value, at] = [value / 1000, at + 1];
  return (value < 10 && at > 0 ? value.toPrecision(2) : whole.format(value)) + ' ' + units[at];
}

const pairs = (labels) => labels.map(([name, value]) => name + '="' + value + '"').join(', ');

const KINDS = {
  healthy: 'good', degraded: 'warn', unknown: '', unhealthy: 'bad', error: 'bad',
  OK: 'good', WARN: 'warn', REWIND: 'warn', STALL: 'bad', STOP: 'bad',
};

const pill = (text, kind = KINDS[text]) => el('span', 'pill ' + (kind || ''), text);

function more(left, what) {
  return left > 0 ? [el('div', 'more', 'and ' + count(left) + ' more ' + what)] : [];
}

// ------------------------------------------------------------------------------------------------------------ pieces

// Time runs from `from` to `until`; the height is that of the highest of the card.
function spark(trail, from, until, highest) {
  const drawn = svg('svg', { class: 'spark', viewBox: '0 0 100 22', preserveAspectRatio: 'none', 'aria-hidden': 'true' });
  const points = trail.filter(([at]) => at >= from);
  if (points.length < 2 || until <= from) return drawn;
  const x = (at) => (((at - from) / (until - from)) * 100).toFixed(2);
  const y = (value) => (21 - (highest > 0 ? value / highest : 0) * 19).toFixed(2);
  const line = points.map(([at, value]) => x(at) + ',' + y(value)).join('L');
  drawn.append(
    svg('path', { class: 'area', d: 'M' + x(points[0][0]) + ',22L' + line + 'L' + x(points[points.length - 1][0]) + ',22Z' }),
    svg('path', { class: 'line', d: 'M' + line }),
  );
  return drawn;
}

function counterCard(metric) {
  const oldest = Math.min(...metric.series.shown.flatMap((series) => series.trail.slice(0, 1).map(([at]) => at)), metric.until);
  const from = Math.max(metric.until - 600, oldest);
  const rows = el('div', 'rows');
  const called = names(metric.series.shown);
  for (const [at, series] of metric.series.shown.entries()) {
    const highest = Math.max(...series.trail.map(([, value]) => value), 0);
    rows.append(
      titled(el('span', 'label', called[at]), pairs(series.labels)),
      spark(series.trail, from, metric.until, highest),
      titled(el('span', 'value', amount(metric.name, series.rate, rate)), amount(metric.name, series.total, count) + ' in all'),
    );
  }
  return el('div', 'card',
    el('div', 'top', el('h3', '', about(metric)), el('span', 'big', amount(metric.name, metric.rate, rate), el('small', '', ' /s'))),
    el('p', 'name mono', metric.name + ' · ' + amount(metric.name, metric.total, count) + ' in all'),
    rows, ...more(metric.series.more, 'series'));
}

function durationRows(metric, longest) {
  const box = (series) => {
    // By logarithm: what is a tenth as long is a fixed way to the left.
    const x = (value) => Math.max(0, 100 * (1 - Math.log10(longest / Math.max(value, longest / 1e4)) / 4));
    const [p50, p95, p99] = [series.p50, series.p95, series.p99].map(x);
    return svg('svg', { class: 'box', viewBox: '0 0 100 12', preserveAspectRatio: 'none', 'aria-hidden': 'true' },
      svg('rect', { class: 'far', x: 0, y: 3, width: p99, height: 6 }),
      svg('rect', { class: 'near', x: 0, y: 3, width: p95, height: 6 }),
      svg('rect', { class: 'mid', x: 0, y: 3, width: p50, height: 6 }));
  };
  const head = el('td', 'head', about(metric), el('span', 'name mono', metric.name));
  head.colSpan = 6;
  const called = names(metric.series.shown);
  const rows = metric.series.shown.map((series, at) => el('tr', '',
    titled(el('td', '', called[at]), pairs(series.labels)),
    titled(el('td', 'number', count(series.count) + (series.is_recent ? '' : ' *')), count(series.total) + ' in all'),
    el('td', 'number', time(series.p50)), el('td', 'number', time(series.p95)), el('td', 'number', time(series.p99)),
    el('td', 'bar', box(series))));
  return [el('tr', '', head), ...rows];
}

function header(...names) {
  return el('tr', '', ...names.map(([name, kind]) => el('th', kind || '', name)));
}

function durations(all) {
  const shown = all.filter((metric) => metric.series.shown.length);
  if (!shown.length) return [];
  const longest = Math.max(...shown.flatMap((metric) => metric.series.shown.map((series) => series.p99)), 1e-6);
  const table = el('table', '', header(['series'], ['values', 'number'], ['p50', 'number'], ['p95', 'number'], ['p99', 'number'], ['', 'bar']),
    ...shown.flatMap((metric) => durationRows(metric, longest)));
  const old = shown.some((metric) => metric.series.shown.some((series) => !series.is_recent));
  return [table, ...(old ? [el('div', 'more', '* of all time: nothing came lately')] : [])];
}

function lag(groups) {
  if (!groups.shown.length) return [];
  const rows = groups.shown.map((group) => el('tr', '',
    el('td', '', group.status ? pill(group.status) : el('span', 'dim', '–')),
    el('td', '', group.group), el('td', '', group.topic),
    el('td', 'number', count(group.records)), el('td', 'number', time(group.seconds)),
    el('td', 'number', String(group.partitions)), el('td', 'number', group.members === null ? '–' : count(group.members))));
  const names = [['status'], ['group'], ['topic'], ['records behind', 'number'], ['time behind', 'number'], ['partitions', 'number'], ['members', 'number']];
  return [el('table', '', header(...names), ...rows), ...more(groups.more, 'groups and topics')];
}

function level(metric) {
  const rows = el('div', 'rows two');
  const called = names(metric.series.shown);
  for (const [at, series] of metric.series.shown.entries()) {
    const value = metric.name.endsWith('_seconds') ? time(series.value) : count(series.value);
    rows.append(titled(el('span', 'label', called[at]), pairs(series.labels)), el('span', 'value', value));
  }
  return el('div', 'card', el('h3', '', about(metric)), el('p', 'name mono', metric.name), rows,
    ...more(metric.series.more, 'series'));
}

const OUTCOMES = ['counted', 'filtered', 'absent', 'future', 'malformed', 'oversize', 'expired'];

function ledger(topics) {
  if (!topics.length) return [];
  const rows = topics.map((topic) => {
    const share = svg('svg', { class: 'share', viewBox: '0 0 100 10', preserveAspectRatio: 'none', 'aria-hidden': 'true' });
    const outcomes = el('div', 'outcomes');
    let at = 0;
    for (const name of OUTCOMES) {
      const records = topic.outcomes[name] || 0;
      if (!records) continue;
      const width = (100 * records) / topic.records;
      share.append(svg('rect', { class: name, x: at, y: 0, width, height: 10 }));
      at += width;
      outcomes.append(el('span', '', el('i', name), name + ' ', el('b', '', count(records))));
    }
    const balance = topic.imbalance === 0 ? pill('balanced', 'good') : pill('off by ' + count(topic.imbalance), 'bad');
    return el('tr', '', el('td', '', topic.topic), el('td', 'number', count(topic.records)), el('td', 'bar', share),
      el('td', '', outcomes), el('td', '', balance));
  });
  return [el('table', '', header(['topic'], ['offsets', 'number'], ['', 'bar'], ['outcomes'], ['']), ...rows)];
}

function fact(name, value) {
  return el('span', '', el('b', '', value), ' ' + name);
}

function stage(worker, now) {
  const topics = worker.topics.map((topic) => {
    const marks = topic.tasks.shown.map((task) => task.watermark).filter((mark) => mark !== null);
    const slowest = Math.min(...marks);
    const behind = marks.length ? titled(el('span', 'dim', time(now - slowest) + ' behind'), 'the slowest partition is at ' + clock(slowest)) : null;
    const squares = el('div', 'squares', ...topic.tasks.shown.map((task) => {
      const told = ['partition ' + task.partition + ': ' + task.phase];
      if (task.watermark !== null) told.push('watermark ' + clock(task.watermark) + ', ' + time(now - task.watermark) + ' behind');
      if (task.series) told.push(count(task.series) + ' series');
      if (task.late) told.push(count(task.late) + ' late');
      const square = titled(el('i', task.phase), told.join('\n'));
      square.setAttribute('role', 'img');
      square.setAttribute('aria-label', told.join(', '));
      return square;
    }));
    const notes = [...new Set(topic.tasks.shown.flatMap((task) => task.notes))].slice(0, 3);
    return el('div', 'topic',
      el('div', 'line', titled(el('span', 'label', topic.topic), topic.topic), behind),
      squares, ...notes.map((note) => el('p', 'note', note)), ...more(topic.tasks.more, 'partitions'));
  });
  const troubles = [['aborted', worker.aborted], ['failed', worker.fatal], ['dead letters', worker.dead_letters]];
  return el('div', 'card',
    el('div', 'top', el('h3', '', worker.name), worker.ready ? pill('ready', 'good') : pill('not ready', 'warn')),
    el('p', 'facts', fact('records', count(worker.records)), fact('commits', count(worker.committed)),
      fact('a commit', time(worker.p50)), fact('at p99', time(worker.p99)),
      ...troubles.filter(([, times]) => times > 0).map(([name, times]) => fact(name, count(times)))),
    ...topics, worker.topics.length ? null : el('p', 'facts', 'no partitions: other instances have them'));
}

function exported(all, now) {
  if (!all.length) return [];
  const rows = all.map((one) => {
    const state = one.blocked.length ? pill('waits', 'warn') : one.lost ? pill('refused some', 'warn') : pill('sending', 'good');
    const said = el('td', '');
    for (const why of one.blocked.slice(0, 2)) said.append(el('div', 'fault', why));
    if (!one.blocked.length && one.last_error) said.append(el('div', 'dim', clock(one.last_error[0]) + ' ' + one.last_error[1]));
    return el('tr', '', el('td', '', one.name), el('td', '', state), el('td', 'number', count(one.accepted)), el('td', 'number', count(one.lost)),
      el('td', 'number', count(one.lag)), el('td', 'number', one.last_success === null ? '–' : time(Math.max(0, now - one.last_success)) + ' ago'),
      el('td', 'number', time(one.p99)), said);
  });
  const names = [['to'], [''], ['accepted', 'number'], ['lost there', 'number'], ['waiting', 'number'], ['last', 'number'], ['p99', 'number'], ['said last']];
  return [el('table', '', header(...names), ...rows)];
}

function alerts(all) {
  if (!all.shown.length) return [el('p', 'calm', 'No alert is pending or fires in the rules that this instance looks after.')];
  const one = (alert) => {
    const labels = Object.entries(alert.labels).filter(([name]) => name !== 'alertname' && name !== 'severity');
    const kind = alert.state === 'firing' ? 'bad' : 'warn';
    return el('div', 'alert ' + alert.state, el('strong', '', alert.labels.alertname),
      el('span', 'labels dim mono', pairs(labels)),
      el('span', '', pill(alert.state + ' · ' + alert.labels.severity, kind), ' ', el('span', 'dim', 'for ' + time(Date.now() / 1000 - Date.parse(alert.activeAt) / 1000))),
      el('p', '', alert.annotations.description || '', el('span', 'dim', ' now ' + Number(alert.value).toPrecision(4).replace(/\.?0+$/, ''))));
  };
  return [el('h2', '', 'Alerts'), ...all.shown.map(one), ...more(all.more, 'alerts')];
}

// ------------------------------------------------------------------------------------------------------------- page

// A stream that ends begins again within a second or two: only who is gone for longer is missed.
const PATIENCE = 5000;

let newest = null;
let lost = 0;

function draw(state) {
  place('application').textContent = state.application;
  place('instance').textContent = 'instance ' + state.instance;
  place('status').textContent = state.status;
  place('status').className = 'pill ' + (KINDS[state.status] || '');
  const firing = state.alerts.shown.filter((alert) => alert.state === 'firing').length;
  document.title = (firing ? '(' + firing + ') ' : '') + state.application + ' · ' + state.status;
  place('components').replaceChildren(...state.components.map((part) => el('div', 'component',
    el('div', 'top', el('span', '', part.name), pill(part.status)), ...part.why.map((why) => el('p', '', why)))));
  place('alerts').replaceChildren(...alerts(state.alerts));
  fill('counters', state.counters.map(counterCard));
  fill('durations', durations(state.durations));
  fill('lag', lag(state.lag));
  fill('levels', state.levels.filter((metric) => metric.series.shown.length).map(level));
  fill('ledger', ledger(state.ledger));
  fill('stages', state.stages.map((worker) => stage(worker, state.now)));
  fill('exports', exported(state.exports, state.now));
  place('footer').textContent = 'streamgauge ' + state.version + ', up ' + time(Math.floor(state.up)) +
    '. What this instance owns: each series and partition is on one instance.';
}

function liveness() {
  const live = place('live');
  const isGone = lost > 0 && Date.now() - lost > PATIENCE;
  live.className = 'live ' + (isGone ? 'off' : newest ? 'on' : '');
  live.textContent = isGone ? 'no answer for ' + time(Math.floor((Date.now() - lost) / 1000)) : newest ? 'live' : 'connecting';
  document.body.classList.toggle('stale', isGone);
}

function listen() {
  const source = new EventSource('api/v1/events');
  source.addEventListener('status', (event) => {
    newest = JSON.parse(event.data);
    lost = 0;
    if (!document.hidden) draw(newest);
    liveness();
  });
  // A stream that ends begins again by itself; one that was refused does not.
  source.addEventListener('error', () => {
    lost = lost || Date.now();
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 10000);
  });
}

document.addEventListener('visibilitychange', () => {
  if (!document.hidden && newest) draw(newest);
});
setInterval(liveness, 1000);
listen();
