"""What a caption is worth by its words alone: its length, whether it tells of motion, whether it is prose at all."""

import functools
import re
import unicodedata

# English verbs of motion and change, in the classes of Levin, English Verb Classes and Alternations (1993): of motion
# (51), putting and throwing (9, 17), change of state and place (45, 48), body movement (49, 40), fire, light and water
# (43, 45). Those that mostly stand for nouns or for stillness in captions (building, close, show, sit, stand) are out;
# of those after the bar, which are nouns in their plain form, only `raining` and `rained` count, not `rain` or `rains`.
VERBS, NOUNS = """
move go come walk run jog sprint march stroll wander stride hike climb crawl creep sneak tiptoe stumble limp
jump leap hop skip bounce vault dive swim float drift sail paddle surf fly soar glide hover flap flutter
ride drive cycle skate ski sled race chase follow pass enter leave arrive depart approach return travel roam
turn rotate spin twist twirl swirl whirl revolve roll flip tumble swing sway wobble shake tremble vibrate shiver
rise fall drop descend ascend slide slip skid push pull drag lift raise lower carry throw toss hurl catch
hit kick punch strike slap dribble shoot launch pour spill splash drip flow stream gush sprinkle
blow burn blaze flicker sparkle explode burst erupt collapse crumble crash collide smash shatter break
rip open shut lock unlock unfold wrap unwrap untie cut chop slice peel stir mix whisk knead
grow shrink expand contract swell blossom wither melt freeze thaw boil evaporate dissolve fade appear disappear
vanish emerge change transform become spread scatter gather assemble dance wave nod stretch bend kneel crouch
hug kiss shrug wink blink chew eat drink lick bite sip smile laugh cry yell shout sing clap play knit sew
wipe sweep scrub wash dig stack load unload fill unpack zoom tilt circle accelerate start begin reach grab grasp
snatch give take wrestle fight wag graze gallop trot
| rain snow fire land hand place form pan rock sink spray flash crack tear fold cross trip bow brush plant water pack
bloom swallow orbit row tie track slow stop steam smoke tap bat type empty put
""".split('|')
IRREGULAR = """
went gone came ran swam swum flew flown rode ridden drove driven spun swung shook shaken risen fell fallen sank sunk
slid threw thrown caught struck shot blew blown broke broken tore torn grew grown shrank shrunk froze frozen became bent
knelt crept leapt ate eaten drank drunk bit sang sung swept dug began begun gave given took taken fought strode swollen
tying untying sewn
""".split()
VOWELS = 'aeiou'


def of_caption(text: str) -> dict[str, float]:
    """caption_words, caption_motion and caption_symbols of a text (data_pipelines.curate.scores.SCORES).

    Words are what lies between spaces, so that a sentence of a language without them counts as one.
    """
    words = [word for word in map(_bare, text.lower().split()) if word]
    told = sum(word in _forms() for word in words)
    signs = [sign for sign in text if not sign.isspace()]
    return {
        'caption_words': float(len(words)),
        'caption_motion': told / max(len(words), 1),
        'caption_symbols': sum(not _is_letter(sign) for sign in signs) / max(len(signs), 1),
    }


def _bare(word):
    """The word without the signs around it, '' where there is no letter or number in it."""
    return re.sub(r'^[^\w]+|[^\w]+$', '', word) if any(sign.isalnum() for sign in word) else ''


def _is_letter(sign):
    return unicodedata.category(sign)[0] in 'LM'  # marks are parts of letters, as the vowels of Hindi


@functools.cache
def _forms() -> frozenset[str]:
    """All forms of the verbs: walk, walks, walked, walking; run, runs, running, ran; but of rain raining and rained."""
    plain = {form for verb in VERBS.split() for form in (*_present(verb), *_others(verb))}
    return frozenset(plain.union(IRREGULAR, *(_others(verb) for verb in NOUNS.split())))


def _present(verb):
    yield verb
    if verb.endswith('y') and verb[-2] not in VOWELS:
        yield verb[:-1] + 'ies'
    else:
        yield verb + ('es' if verb.endswith(('s', 'sh', 'ch', 'x', 'z', 'o')) else 's')


def _others(verb):
    if verb.endswith('y') and verb[-2] not in VOWELS:
        yield from (verb[:-1] + 'ied', verb + 'ing')
        return
    stem = verb[:-1] if verb.endswith('e') and not verb.endswith('ee') else verb
    yield from (stem + 'ing', stem + 'ed')
    if verb[-1] not in VOWELS + 'wxy' and verb[-2] in VOWELS and verb[-3:-2] not in VOWELS:
        yield from (verb + verb[-1] + 'ing', verb + verb[-1] + 'ed')  # running; `openning` harms nobody
