// Puts the page together: curves, samples, and the filters of the config.
'use strict';

const pageData = JSON.parse(document.getElementById('page-data').textContent);
const runNames = pageData.samples.map((run) => run.name);

function listen(id, event, act) {
  document.getElementById(id)?.addEventListener(event, act);
}

function filterConfig() {
  const text = document.getElementById('config-search').value.toLowerCase();
  const isOn = (id) => document.getElementById(id)?.checked ?? false;
  let shown = 0;
  for (const row of document.querySelectorAll('table.config tbody tr')) {
    const hides = (isOn('config-differs') && !row.classList.contains('differs'))
      || (isOn('config-changed') && !row.classList.contains('marked'))
      || !row.textContent.toLowerCase().includes(text);
    row.hidden = hides;
    shown += !hides;
  }
  document.getElementById('config-none').hidden = shown > 0;
}

async function startCurves() {
  await Curves.start(pageData.plots);
  Curves.drawLegends(runNames);
  Curves.setTheme();
  Curves.setLog(false);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => Curves.setTheme());
  listen('log', 'change', (event) => Curves.setLog(event.target.checked));
  listen('reset', 'click', () => Curves.reset());
  listen('smoothing', 'input', (event) => {
    const weight = Number(event.target.value);
    document.getElementById('smoothing-value').textContent = weight ? weight.toFixed(2) : 'off';
    Curves.setSmoothing(weight);
  });
  for (const chart of document.querySelectorAll('.chart')) chart.addEventListener('dblclick', () => Curves.reset());
  document.body.dataset.curves = 'drawn';
}

for (const chart of pageData.plots.charts) {
  if (chart.has_log) document.querySelector(`[data-chart="${chart.id}"]`).classList.add('tall');
}
startCurves();

const playerElement = document.querySelector('.player');
const player = playerElement ? new Player(playerElement, pageData.samples) : null;

if (document.getElementById('config-search')) {
  for (const id of ['config-search', 'config-differs', 'config-changed']) listen(id, 'input', filterConfig);
  filterConfig();
}
