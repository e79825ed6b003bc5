// The charts: BokehJS draws them; here are the legend, the switch of scales, smoothing and the colours of the theme.
'use strict';

const Curves = {
  models: new Map(),
  views: [],
  figures: [],

  async start(plots) {
    if (!plots.charts.length) return;
    const items = [{
      docid: 'report',
      roots: Object.fromEntries(Object.entries(plots.roots).map(([element, id]) => [id, element])),
      root_ids: Object.values(plots.roots),
    }];
    this.views = await Bokeh.embed.embed_items({report: plots.document}, items);
    const embedded = Bokeh.documents[Bokeh.documents.length - 1];
    this.figures = embedded.roots();
    const find = (id) => embedded.get_model_by_id(id);
    this.charts = plots.charts;
    for (const chart of plots.charts) {
      for (const entry of chart.legend) {
        entry.rawModels = entry.raw.map(find);
        entry.smoothModels = entry.smooth.map(find);
        entry.restModels = entry.rest.map(find);
        entry.hiddenBy = 0;
        for (const model of entry.smoothModels) {
          model.averages = Array.from(model.data_source.data.y);
        }
      }
    }
  },

  drawLegends(runs) {
    for (const chart of this.charts ?? []) {
      const list = document.querySelector(`[data-chart="${chart.id}"] .legend`);
      for (const part of this.divideLegend(chart, runs)) {
        const button = document.createElement('button');
        button.type = 'button';
        button.setAttribute('aria-pressed', 'true');
        button.append(this.drawSwatch(part), part.name);
        button.addEventListener('click', () => {
          part.isShown = !part.isShown;
          button.setAttribute('aria-pressed', String(part.isShown));
          for (const entry of part.entries) {
            entry.hiddenBy += part.isShown ? -1 : 1;
            this.show(entry);
          }
        });
        const item = document.createElement('li');
        item.append(button);
        list.append(item);
      }
    }
  },

  // One part a line; of several runs one a run, by colour, and one for each kind of line, by dashes.
  divideLegend(chart, runs) {
    const labels = [...new Set(chart.legend.map((entry) => entry.label))];
    const choose = (name, colour, dash, test) => (
      {name, colour, dash, isShown: true, entries: chart.legend.filter(test)});
    const byLabel = labels.map((label) => {
      const {colour, dash} = chart.legend.find((entry) => entry.label === label);
      return choose(label, runs.length > 1 ? 'currentColor' : colour, dash, (entry) => entry.label === label);
    });
    if (runs.length === 1) return labels.length > 1 ? byLabel : [];
    const numbers = [...new Set(chart.legend.map((entry) => entry.run))];
    const byRun = numbers.map((run) => {
      const {colour} = chart.legend.find((entry) => entry.run === run);
      return choose(runs[run], colour, 'solid', (entry) => entry.run === run);
    });
    return labels.length > 1 ? [...byRun, ...byLabel] : byRun;
  },

  drawSwatch(entry) {
    const dashes = {solid: '', dashed: '5 3', dotted: '1.5 2.5', dashdot: '5 2 1 2', dotdash: '1 2 5 2'};
    const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
    svg.setAttribute('width', '18');
    svg.setAttribute('height', '4');
    const line = document.createElementNS('http://www.w3.org/2000/svg', 'line');
    const values = {x1: 0, x2: 18, y1: 2, y2: 2, stroke: entry.colour, 'stroke-width': 3, 'stroke-dasharray': dashes[entry.dash]};
    for (const [name, value] of Object.entries(values)) line.setAttribute(name, String(value));
    svg.append(line);
    return svg;
  },

  smoothing: 0,

  show(entry) {
    const isShown = !entry.hiddenBy;
    for (const model of entry.rawModels) {
      model.visible = isShown;
      model.glyph.line_alpha = this.smoothing ? 0.25 : 1;
    }
    for (const model of entry.smoothModels) model.visible = isShown && this.smoothing > 0;
    for (const model of entry.restModels) model.visible = isShown;
  },

  // An exponential moving average whose first points are not pulled towards 0.
  smooth(values, weight) {
    let average = 0;
    let mass = 0;
    return Float32Array.from(values, (value) => {
      average = weight * average + (1 - weight) * value;
      mass = weight * mass + (1 - weight);
      return average / mass;
    });
  },

  setSmoothing(weight) {
    this.smoothing = weight;
    for (const chart of this.charts ?? []) {
      if (chart.section !== 'main' && chart.section !== 'more') continue;
      for (const entry of chart.legend) {
        for (const model of entry.smoothModels) {
          if (weight) {
            const x = model.data_source.data.x;
            model.data_source.data = {x, y: this.smooth(model.averages, weight)};
          }
        }
        this.show(entry);
      }
    }
  },

  setLog(isLog) {
    for (const chart of this.charts ?? []) {
      if (!chart.has_log) continue;
      document.getElementById(chart.id).hidden = isLog;
      document.getElementById(`${chart.id}-log`).hidden = !isLog;
    }
  },

  reset() {
    for (const figure of this.figures) figure.reset.emit();
  },

  setTheme() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    for (const figure of this.figures) {
      for (const axis of [...figure.below, ...figure.left]) axis.major_label_text_color = colour('--muted');
      for (const grid of figure.center) {
        if (grid.type === 'Grid') grid.grid_line_color = colour('--line');
      }
    }
  },
};
