// The samples: one sprite sheet a step, of which a frame of every clip is drawn at a time.
'use strict';

const GAP = 4;
const CACHED = 6;

class Grid {
  constructor(element, run) {
    this.element = element;
    this.canvas = element.querySelector('canvas');
    this.steps = run.steps;
    this.pictures = new Map();
    this.shown = null;
  }

  // The newest samples that there were at a step.
  entryAt(step) {
    let entry = this.steps[0];
    for (const each of this.steps) {
      if (each.step <= step) entry = each;
    }
    return entry;
  }

  async load(entry) {
    if (!this.pictures.has(entry.step)) {
      const bytes = Uint8Array.from(atob(entry.data), (character) => character.charCodeAt(0));
      this.pictures.set(entry.step, createImageBitmap(new Blob([bytes], {type: entry.mime})));
      // Decoded sheets are large.
      if (this.pictures.size > CACHED) {
        const [oldest, picture] = this.pictures.entries().next().value;
        this.pictures.delete(oldest);
        picture.then((bitmap) => setTimeout(() => bitmap.close(), 2000));
      }
    }
    return this.pictures.get(entry.step);
  }

  async setStep(step) {
    const entry = this.entryAt(step);
    if (this.shown?.entry === entry) return;
    this.wanted = entry;
    const picture = await this.load(entry);
    // A slider that is dragged asks for many.
    if (this.wanted !== entry) return;
    this.shown = {entry, picture};
    const note = this.element.querySelector('.shown-step');
    if (note) note.textContent = `step ${entry.step.toLocaleString('en')}`;
    this.layOut();
  }

  layOut() {
    if (!this.shown) return;
    const {width, height, videos} = this.shown.entry;
    const room = this.element.clientWidth;
    const ratio = window.devicePixelRatio || 1;
    // Small worlds are enlarged by whole pixels, so that four of them fit a narrow page; two of the large ones do.
    const target = Math.min(128, (room - 3 * GAP) / 4);
    const enlargement = Math.max(1, Math.floor(target / Math.max(width, height)));
    const widest = videos > 1 ? Math.max(120, Math.floor((room - GAP) / 2)) : room;
    const cell = Math.min(width * enlargement, widest, room);
    const fitting = Math.max(1, Math.floor((room + GAP) / (cell + GAP)));
    const rows = Math.ceil(videos / fitting);
    const columns = Math.ceil(videos / rows);
    this.columns = columns;
    this.cellWidth = Math.round(cell * ratio);
    this.cellHeight = Math.round(cell * ratio * height / width);
    this.gap = Math.round(GAP * ratio);
    this.canvas.width = columns * (this.cellWidth + this.gap) - this.gap;
    this.canvas.height = rows * (this.cellHeight + this.gap) - this.gap;
    this.canvas.style.width = `${this.canvas.width / ratio}px`;
    this.drawn = null;
  }

  draw(frame) {
    if (!this.shown) return;
    const {entry, picture} = this.shown;
    const number = frame % entry.frames;
    if (this.drawn === number) return;
    this.drawn = number;
    const context = this.canvas.getContext('2d');
    context.imageSmoothingEnabled = entry.width >= 96;
    for (let video = 0; video < entry.videos; video++) {
      const cell = video * entry.frames + number;
      const sourceX = (cell % entry.columns) * entry.width;
      const sourceY = Math.floor(cell / entry.columns) * entry.height;
      const x = (video % this.columns) * (this.cellWidth + this.gap);
      const y = Math.floor(video / this.columns) * (this.cellHeight + this.gap);
      context.drawImage(picture, sourceX, sourceY, entry.width, entry.height, x, y, this.cellWidth, this.cellHeight);
    }
  }
}

class Player {
  constructor(element, runs) {
    this.element = element;
    this.grids = runs.flatMap((run, index) => {
      const place = element.querySelector(`[data-run="${index}"]`);
      return run.steps.length ? [new Grid(place, run)] : [];
    });
    const steps = this.grids.flatMap((grid) => grid.steps);
    this.steps = [...new Set(steps.map((entry) => entry.step))].sort((a, b) => a - b);
    this.frames = Math.max(...steps.map((entry) => entry.frames));
    this.fps = steps[0].fps;
    this.frame = 0;
    this.isPlaying = !matchMedia('(prefers-reduced-motion: reduce)').matches;
    this.find = (id) => element.querySelector(`#${id}`);
    this.find('step').max = String(this.steps.length - 1);
    this.find('frame').max = String(this.frames - 1);
    this.setPlaying(this.isPlaying);
    this.listen();
    this.setStep(this.steps.length - 1);
    requestAnimationFrame((now) => this.tick(now, now));
  }

  listen() {
    this.find('play').addEventListener('click', () => this.setPlaying(!this.isPlaying));
    this.find('step').addEventListener('input', (event) => this.setStep(Number(event.target.value)));
    this.find('frame').addEventListener('input', (event) => {
      this.setPlaying(false);
      this.setFrame(Number(event.target.value));
    });
    this.element.addEventListener('keydown', (event) => this.press(event));
    new ResizeObserver(() => this.grids.forEach((grid) => {
      grid.layOut();
      grid.draw(Math.floor(this.frame));
    })).observe(this.element);
  }

  press(event) {
    // What has the focus moves by its own keys first: of the slider of frames the arrows are of frames.
    const isOwnKey = event.target.matches('select, input') && event.key.startsWith('Arrow');
    const actions = {
      ' ': () => this.setPlaying(!this.isPlaying),
      ArrowLeft: () => this.setStep(this.index - 1),
      ArrowRight: () => this.setStep(this.index + 1),
      ',': () => this.moveFrame(-1),
      '<': () => this.moveFrame(-1),
      '.': () => this.moveFrame(1),
      '>': () => this.moveFrame(1),
    };
    if (isOwnKey || event.target.tagName === 'SELECT' || !(event.key in actions)) return;
    event.preventDefault();
    actions[event.key]();
  }

  setPlaying(isPlaying) {
    this.isPlaying = isPlaying;
    this.find('play').textContent = isPlaying ? 'pause' : 'play';
  }

  setStep(index) {
    this.index = Math.min(Math.max(index, 0), this.steps.length - 1);
    this.find('step').value = String(this.index);
    const step = this.steps[this.index];
    this.find('step-value').textContent = step.toLocaleString('en');
    for (const grid of this.grids) grid.setStep(step);
  }

  moveFrame(offset) {
    this.setPlaying(false);
    this.setFrame((Math.floor(this.frame) + offset + this.frames) % this.frames);
  }

  setFrame(frame) {
    this.frame = frame;
    const number = Math.floor(frame);
    this.find('frame').value = String(number);
    this.find('frame-value').textContent = `${number + 1}/${this.frames}`;
    for (const grid of this.grids) grid.draw(number);
  }

  tick(now, before) {
    const speed = Number(this.find('speed').value);
    const seconds = Math.min((now - before) / 1000, 0.5);
    const moved = this.isPlaying ? seconds * this.fps * speed : 0;
    this.setFrame((this.frame + moved) % this.frames);
    requestAnimationFrame((next) => this.tick(next, now));
  }
}
