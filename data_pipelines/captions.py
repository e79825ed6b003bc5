"""What a caption is worth by its words alone: its length, whether it tells of motion, whether it is prose at all."""

import functools
import re

# English verbs of motion and change, in the classes of Levin, English Verb Classes and Alternations (1993): of motion
# (51), putting and throwing (9, 17), change of state and place (45, 48), body movement (49, 40), fire, light and water
# (43, 45). Those that mostly stand for nouns or for stillness in captions (show, sit, stand, lie, close, set) are out.
VERBS = """
move go come walk run jog sprint march stroll wander stride hike climb crawl creep sneak tiptoe stumble trip limp
jump leap hop skip bounce vault dive swim float drift sail row paddle surf fly soar glide hover flap flutter land
ride drive cycle skate ski sled race chase follow pass cross enter leave arrive depart approach return travel roam
turn rotate spin twist twirl swirl whirl revolve roll flip tumble swing sway rock wobble shake tremble vibrate shiver
rise fall drop sink descend ascend climb slide slip skid push pull drag lift raise lower carry throw toss hurl catch
hit kick punch strike slap tap bat dribble shoot launch fire pour spill splash drip flow stream gush spray sprinkle
rain snow blow burn blaze flicker flash sparkle explode burst erupt collapse crumble crash collide smash shatter break
crack tear rip open shut lock unlock fold unfold wrap unwrap tie untie cut chop slice peel stir mix whisk knead
grow shrink expand contract swell bloom blossom wither melt freeze thaw boil evaporate dissolve fade appear disappear
vanish emerge change transform become form spread scatter gather assemble dance wave nod bow stretch bend kneel crouch
hug kiss shrug wink blink chew eat drink lick bite swallow sip smile laugh cry yell shout sing clap play knit sew
paint draw write type wipe sweep scrub wash brush dig plant water build stack load unload fill empty pack unpack
zoom pan tilt orbit circle accelerate slow speed stop start begin reach grab grasp snatch hand give take put place
wrestle fight wag graze gallop trot
""".split()
IRREGULAR = {
    **{
        'go': 'went gone',
        'come': 'came',
        'run': 'ran',
        'swim': 'swam swum',
        'fly': 'flew flown',
        'ride': 'rode ridden',
    },
    **{'drive': 'drove driven', 'leave': 'left', 'spin': 'spun', 'swing': 'swung', 'shake': 'shook shaken'},
    **{'rise': 'rose risen', 'fall': 'fell fallen', 'sink': 'sank sunk', 'slide': 'slid', 'throw': 'threw thrown'},
    **{'catch': 'caught', 'hit': 'hit', 'strike': 'struck', 'shoot': 'shot', 'blow': 'blew blown', 'burst': 'burst'},
    **{'break': 'broke broken', 'tear': 'tore torn', 'grow': 'grew grown', 'shrink': 'shrank shrunk'},
    **{'freeze': 'froze frozen', 'become': 'became', 'spread': 'spread', 'bend': 'bent', 'kneel': 'knelt'},
    **{'creep': 'crept', 'leap': 'leapt', 'dive': 'dove', 'eat': 'ate eaten', 'drink': 'drank drunk', 'bite': 'bit'},
    **{'sing': 'sang sung', 'draw': 'drew drawn', 'write': 'wrote written', 'sweep': 'swept', 'dig': 'dug'},
    **{'build': 'built', 'begin': 'began begun', 'give': 'gave given', 'take': 'took taken', 'put': 'put'},
    **{'cut': 'cut', 'shut': 'shut', 'fight': 'fought', 'stride': 'strode', 'swell': 'swollen', 'tie': 'tying'},
    **{'untie': 'untying', 'sew': 'sewn'},
}
VOWELS = 'aeiou'


def of_caption(text: str) -> dict[str, float]:
    """caption_words, caption_motion and caption_symbols of a text (data_pipelines.scores.SCORES).

    Words are runs of letters and numbers, of any script; one without spaces between words counts as few words.
    """
    words = re.findall(r"[^\W_]+(?:['’-][^\W_]+)*", text.lower())
    told = sum(word in _forms() for word in words)
    signs = [sign for sign in text if not sign.isspace()]
    return {
        'caption_words': float(len(words)),
        'caption_motion': told / max(len(words), 1),
        'caption_symbols': sum(not sign.isalpha() for sign in signs) / max(len(signs), 1),
    }


@functools.cache
def _forms() -> frozenset[str]:
    """All forms of the verbs: walks, walked, walking; runs, running, ran."""
    return frozenset(form for verb in VERBS for form in (*_regular(verb), *IRREGULAR.get(verb, '').split()))


def _regular(verb):
    yield verb
    yield verb + ('es' if verb.endswith(('s', 'sh', 'ch', 'x', 'z', 'o')) else 's')
    if verb.endswith('y') and verb[-2] not in VOWELS:
        yield from (verb[:-1] + 'ies', verb[:-1] + 'ied', verb + 'ing')
        return
    silent = verb.endswith('e')
    stem = verb[:-1] if silent and not verb.endswith('ee') else verb
    yield from (stem + 'ing', stem + 'ed')
    if len(verb) > 2 and verb[-1] not in VOWELS + 'wxy' and verb[-2] in VOWELS and verb[-3] not in VOWELS:
        yield from (verb + verb[-1] + 'ing', verb + verb[-1] + 'ed')  # running; of visit, a word that does not exist
