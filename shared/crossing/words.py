"""Digests read aloud: one byte, one word, from the two PGP word lists.

Patrick Juola and Philip Zimmermann chose the words (1995) to sound unlike one another. Bytes at even places
take a word of two syllables, bytes at odd places one of three, so a listener notices a word that was dropped,
doubled or swapped with its neighbour, and so does ``parse_words``.

Invariants: both lists hold 256 words, all 512 are distinct whatever their case; writing and parsing are
inverse; letter case is never significant.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from shared.errors import RequestRejected

# SHA-512 is the longest digest that anybody would read out.
MOST_WORDS = 64

_EVEN: tuple[str, ...] = tuple(
    """
    aardvark absurd accrue acme adrift adult afflict ahead aimless Algol allow alone ammo ancient apple artist
    assume Athens atlas Aztec baboon backfield backward banjo beaming bedlamp beehive beeswax befriend Belfast
    berserk billiard bison blackjack blockade blowtorch bluebird bombast bookshelf brackish breadline breakup
    brickyard briefcase Burbank button buzzard cement chairlift chatter checkup chisel choking chopper Christmas
    clamshell classic classroom cleanup clockwork cobra commence concert cowbell crackdown cranky crowfoot crucial
    crumpled crusade cubic dashboard deadbolt deckhand dogsled dragnet drainage dreadful drifter dropper drumbeat
    drunken Dupont dwelling eating edict egghead eightball endorse endow enlist erase escape exceed eyeglass
    eyetooth facial fallout flagpole flatfoot flytrap fracture framework freedom frighten gazelle Geiger glitter
    glucose goggles goldfish gremlin guidance hamlet highchair hockey indoors indulge inverse involve island
    jawbone keyboard kickoff kiwi klaxon locale lockup merit minnow miser Mohawk mural music necklace Neptune
    newborn nightbird Oakland obtuse offload optic orca payday peachy pheasant physique playhouse Pluto preclude
    prefer preshrunk printer prowler pupil puppy python quadrant quiver quota ragtime ratchet rebirth reform
    regain reindeer rematch repay retouch revenge reward rhythm ribcage ringbolt robust rocker ruffled sailboat
    sawdust scallion scenic scorecard Scotland seabird select sentence shadow shamrock showgirl skullcap skydive
    slingshot slowdown snapline snapshot snowcap snowslide solo southward soybean spaniel spearhead spellbind
    spheroid spigot spindle spyglass stagehand stagnate stairway standard stapler steamship sterling stockman
    stopwatch stormy sugar surmount suspense sweatband swelter tactics talon tapeworm tempest tiger tissue tonic
    topmost tracker transit trauma treadmill Trojan trouble tumor tunnel tycoon uncut unearth unwind uproot upset
    upshot vapor village virus Vulcan waffle wallet watchword wayside willow woodlark Zulu
    """.split()  # noqa: SIM905 - a list literal would take a line a word
)
_ODD: tuple[str, ...] = tuple(
    """
    adroitness adviser aftermath aggregate alkali almighty amulet amusement antenna applicant Apollo armistice
    article asteroid Atlantic atmosphere autopsy Babylon backwater barbecue belowground bifocals bodyguard
    bookseller borderline bottomless Bradbury bravado Brazilian breakaway Burlington businessman butterfat Camelot
    candidate cannonball Capricorn caravan caretaker celebrate cellulose certify chambermaid Cherokee Chicago
    clergyman coherence combustion commando company component concurrent confidence conformist congregate
    consensus consulting corporate corrosion councilman crossover crucifix cumbersome customer Dakota decadence
    December decimal designing detector detergent determine dictator dinosaur direction disable disbelief
    disruptive distortion document embezzle enchanting enrollment enterprise equation equipment escapade Eskimo
    everyday examine existence exodus fascinate filament finicky forever fortitude frequency gadgetry Galveston
    getaway glossary gossamer graduate gravity guitarist hamburger Hamilton handiwork hazardous headwaters
    hemisphere hesitate hideaway holiness hurricane hydraulic impartial impetus inception indigo inertia infancy
    inferno informant insincere insurgent integrate intention inventive Istanbul Jamaica Jupiter leprosy
    letterhead liberty maritime matchmaker maverick Medusa megaton microscope microwave midsummer millionaire
    miracle misnomer molasses molecule Montana monument mosquito narrative nebula newsletter Norwegian October
    Ohio onlooker opulent Orlando outfielder Pacific pandemic Pandora paperweight paragon paragraph paramount
    passenger pedigree Pegasus penetrate perceptive performance pharmacy phonetic photograph pioneer pocketful
    politeness positive potato processor provincial proximate puberty publisher pyramid quantity racketeer
    rebellion recipe recover repellent replica reproduce resistor responsive retraction retrieval retrospect
    revenue revival revolver sandalwood sardonic Saturday savagery scavenger sensation sociable souvenir
    specialist speculate stethoscope stupendous supportive surrender suspicious sympathy tambourine telephone
    therapist tobacco tolerance tomorrow torpedo tradition travesty trombonist truncated typewriter ultimate
    undaunted underfoot unicorn unify universe unravel upcoming vacancy vagabond vertigo Virginia visitor vocalist
    voyager warranty Waterloo whimsical Wichita Wilmington Wyoming yesteryear Yucatan
    """.split()  # noqa: SIM905 - a list literal would take a line a word
)
_LISTS = (_EVEN, _ODD)
_VALUES: tuple[dict[str, int], dict[str, int]] = (
    {word.lower(): value for value, word in enumerate(_EVEN)},
    {word.lower(): value for value, word in enumerate(_ODD)},
)


def digest_words(digest: bytes) -> tuple[str, ...]:
    """Spell a digest in words.

    Args:
        digest: the bytes to read aloud, at most ``MOST_WORDS``; the first byte stands at the (even) place 0.

    Raises:
        RequestRejected: ``words.too-many``.
    """
    _check_count(digest)
    return tuple(_LISTS[place % 2][value] for place, value in enumerate(digest))


def parse_words(words: Iterable[str]) -> bytes:
    """Turn words back into the digest they spell.

    Args:
        words: one word an item, in any letter case.

    Raises:
        RequestRejected: ``words.too-many``, ``words.unknown`` or ``words.out-of-place``; the message says which
            word, counted from 1.
    """
    given = tuple(words)
    _check_count(given)
    return bytes(_value(word, place) for place, word in enumerate(given))


def _value(word: str, place: int) -> int:
    heard = word.lower()
    value = _VALUES[place % 2].get(heard)
    if value is not None:
        return value
    # The typed word is not repeated: it may be anything, a share word or a terminal's control sequence too.
    if heard in _VALUES[1 - place % 2]:
        raise RequestRejected(
            "words.out-of-place",
            f"word {place + 1} is a word of the other list",
            hint="a word before it is missing, doubled or swapped: two- and three-syllable words take turns",
        )
    raise RequestRejected(
        "words.unknown", f"word {place + 1} is in neither word list", hint="compare its spelling with the original"
    )


def _check_count(items: Sequence[object]) -> None:
    if len(items) > MOST_WORDS:
        raise RequestRejected("words.too-many", f"there are {len(items)} words, the most is {MOST_WORDS}")
