"""The page in a browser: it draws, plays and answers, and asks the network for nothing."""

import pytest

from tests.report.browser import CHROMIUM, Browser
from tests.report.small_runs import line_of, make_score, write_run
from vdm_jax.report.page import write_report

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason='chromium is not installed'),
]

EVIL = '<img src=x onerror="document.title=\'evil\'">'
PIXELS = """
[...document.querySelectorAll('.player canvas')].map((canvas) => {
  let hash = 0;
  for (const character of canvas.toDataURL()) hash = (hash * 31 + character.charCodeAt(0)) | 0;
  return hash;
}).join()
"""
DRAWN = "document.body.dataset.curves === 'drawn'"


@pytest.fixture(scope='module')
def page(tmp_path_factory):
    """The page of two runs with all that can be in one."""
    folder = tmp_path_factory.mktemp('pages')
    lines = [
        line_of(50, loss=None, not_finite={'loss': 'nan'}, **{EVIL: 1.0}),
        {'step': 50, 'resumed': 'now'},
        line_of(60, **{EVIL: 2.0}),
        *({'step': step, **{f'validation_loss_t/{i}': step / i for i in range(1, 9)}} for step in (10, 40)),
    ]
    scores = [make_score(step=20), make_score(step=40), make_score(step=40, protocol={'name': EVIL})]
    runs = [
        write_run(folder / 'a', lines=lines, scores=scores),
        write_run(folder / EVIL.replace('/', ''), steps=30, samples=(10, 30)),
    ]
    write_report([str(run) for run in runs], str(folder / 'page.html'))
    write_report([str(runs[0])], str(folder / 'alone.html'))
    return folder / 'page.html'


@pytest.fixture(params=[(1280, False), (400, True)], ids=['wide and light', 'narrow and dark'])
def browser(request, page):
    width, dark = request.param
    with Browser(width, 900, dark) as browser:
        browser.open(page)
        browser.wait(DRAWN)
        yield browser
        assert browser.errors == [] and browser.requests == []
        assert browser.evaluate('document.title') != 'evil'


def test_all_charts_are_drawn_and_nothing_is_wider_than_the_page(browser):
    charts = browser.evaluate('pageData.plots.charts.length')
    assert charts >= 10
    visible_plots = "[...document.querySelectorAll('.plot')].filter((plot) => plot.offsetParent)"
    # Bokeh has its canvas in a shadow tree.
    browser.wait(f'{visible_plots}.every((plot) => plot.firstElementChild.shadowRoot && plot.offsetHeight > 150)')
    assert browser.evaluate('document.documentElement.scrollWidth <= innerWidth')


def test_samples_play_and_stop(browser):
    browser.wait(f"({PIXELS}).split(',').length === 2")
    first = browser.evaluate(PIXELS)
    browser.wait(f"({PIXELS}) !== '{first}'")
    browser.evaluate("document.getElementById('play').click()")
    still = browser.evaluate(PIXELS)
    browser.evaluate('new Promise((resolve) => setTimeout(resolve, 400))')
    assert browser.evaluate(PIXELS) == still
    browser.evaluate("document.querySelector('.player').focus()")
    browser.press('>')
    assert browser.evaluate(PIXELS) != still
    browser.press(' ')
    assert browser.evaluate("document.getElementById('play').textContent") == 'pause'


def test_the_slider_moves_over_steps(browser):
    browser.evaluate("document.getElementById('play').click()")
    texts = []
    pictures = []
    for index in range(4):
        browser.evaluate(
            f"(() => {{ const slider = document.getElementById('step'); slider.value = {index}; "
            "slider.dispatchEvent(new Event('input')); })()"
        )
        browser.evaluate('new Promise((resolve) => setTimeout(resolve, 150))')
        texts.append(browser.evaluate("document.getElementById('step-value').textContent"))
        pictures.append(browser.evaluate(PIXELS).split(','))
    assert texts == ['10', '20', '30', '40']
    # The first run has samples of 10, 20 and 40, the second of 10 and 30.
    assert len({first for first, _ in pictures}) == 3 and len({second for _, second in pictures}) == 2
    browser.evaluate("document.querySelector('.player').focus()")
    browser.press('ArrowLeft')
    assert browser.evaluate("document.getElementById('step-value').textContent") == '30'
    # The slider of frames has the arrows for itself.
    browser.evaluate("document.getElementById('frame').focus()")
    browser.press('ArrowLeft')
    assert browser.evaluate("document.getElementById('step-value').textContent") == '30'


def test_the_scale_smoothing_and_legend_change_the_chart(browser):
    def is_shown(element):
        return browser.evaluate(f"document.getElementById('{element}').offsetParent !== null")

    assert is_shown('chart-0') and not is_shown('chart-0-log')
    browser.evaluate("document.getElementById('log').click()")
    assert is_shown('chart-0-log') and not is_shown('chart-0')
    line = 'pageData.plots.charts[0].legend[0]'
    browser.evaluate(
        "(() => { const slider = document.getElementById('smoothing'); slider.value = 0.9; "
        "slider.dispatchEvent(new Event('input')); })()"
    )
    smooth = browser.evaluate(f'Array.from({line}.smoothModels[0].data_source.data.y)')
    raw = browser.evaluate(f'{line}.smoothModels[0].averages')
    assert smooth[0] == raw[0] and max(smooth) - min(smooth) < max(raw) - min(raw)
    assert browser.evaluate(f'{line}.smoothModels[0].visible')
    browser.evaluate("document.querySelector('[data-chart=chart-0] .legend button').click()")
    assert not browser.evaluate(f'{line}.rawModels[0].visible')


def test_zoom_is_shared_and_goes_back(browser):
    end = 'Curves.figures.map((figure) => figure.x_range.end)'
    full = browser.evaluate(end)
    browser.evaluate("document.getElementById('chart-0').scrollIntoView({block: 'center', behavior: 'instant'})")
    left, top, width, height = browser.evaluate(
        "(() => { const box = document.getElementById('chart-0').getBoundingClientRect(); "
        'return [box.left, box.top, box.width, box.height]; })()'
    )
    browser.evaluate('new Promise((resolve) => setTimeout(resolve, 300))')
    browser.drag((left + 0.4 * width, top + 0.3 * height), (left + 0.7 * width, top + 0.7 * height))
    browser.wait(f'({end})[0] < {full[0]}')
    zoomed = browser.evaluate(end)
    assert zoomed[0] == zoomed[2]
    browser.evaluate("document.getElementById('reset').click()")
    browser.wait(f'({end})[0] === {full[0]}')


def test_hovering_shows_values_as_text(browser):
    browser.evaluate("document.querySelector('.more').open = true")
    number = browser.evaluate("pageData.plots.charts.findIndex((chart) => chart.title.startsWith('<img'))")
    element = f"document.getElementById('chart-{number}')"
    browser.wait(f'{element}.offsetHeight > 150')
    browser.evaluate(f"{element}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
    browser.evaluate('new Promise((resolve) => setTimeout(resolve, 400))')
    left, top, width, height = browser.evaluate(
        f'(() => {{ const box = {element}.getBoundingClientRect(); '
        'return [box.left, box.top, box.width, box.height]; })()'
    )
    find = """(() => { const texts = []; const walk = (node) => {
      if (node.shadowRoot) walk(node.shadowRoot);
      for (const child of node.childNodes) child.nodeType === 3 ? texts.push(child.data) : walk(child);
    }; walk(document.body); return texts.join(' '); })()"""
    for share in range(5, 100, 3):
        browser.move(left + share / 100 * width, top + 0.5 * height)
        browser.evaluate('new Promise((resolve) => setTimeout(resolve, 30))')
        if 'value' in browser.evaluate(find).split():
            break
    else:
        pytest.fail('no tooltip')


def test_the_config_is_filtered(browser):
    visible_count = "[...document.querySelectorAll('table.config tbody tr')].filter((row) => !row.hidden).length"
    assert browser.evaluate(visible_count) == 0  # the two have one config
    browser.evaluate("document.getElementById('config-differs').click()")
    every = browser.evaluate(visible_count)
    browser.evaluate(
        "(() => { const search = document.getElementById('config-search'); search.value = 'optim'; "
        "search.dispatchEvent(new Event('input')); })()"
    )
    assert every > 5 and browser.evaluate(visible_count) == 2


def test_a_page_of_one_run_draws_and_plays(page):
    with Browser() as browser:
        browser.open(page.parent / 'alone.html')
        browser.wait(DRAWN)
        first = browser.evaluate(PIXELS)
        browser.wait(f"({PIXELS}) !== '{first}'")
        assert browser.errors == [] and browser.requests == []
