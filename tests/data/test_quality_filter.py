import json
import time

import numpy as np
import pytest

from cubefast.config.data import QualityConfig
from cubefast.data.quality_filter import QualityFilter, garbled, near_duplicates
from cubefast.data.reading.dialogues import Dialogue, load_dialogues, normalize
from cubefast.errors import InputError

RAIN = Dialogue("Why does it rain?", "Warm air rises, cools, and lets go of its water as drops.", "weather", "rain")
SNOW = Dialogue(
    "Why does it snow?", "Below zero the water of a cloud freezes into crystals that fall.", "weather", "snow"
)
TEA = Dialogue("How long does green tea steep?", "Two to three minutes in water of 80 degrees.", "kitchen", "tea")


def like(dialogue, **changes):
    return Dialogue(**{**vars(dialogue), **changes})


def rejected(quality):
    return {reason: each.count for reason, each in quality.report.rejected.items()}


def test_clean_pairs_stay_the_same_objects_in_order():
    quality = QualityFilter(QualityConfig(drop_garbled=True, near_duplicates=0.8, max_chars=200))
    kept = quality.balance(quality.texts([SNOW, RAIN, TEA]))
    assert [id(each) for each in kept] == [id(SNOW), id(RAIN), id(TEA)]
    assert (quality.report.seen, quality.report.kept, quality.report.rejected) == (3, 3, {})
    assert str(quality.report) == "3 pairs seen, 3 kept"


def test_exact_repetitions_always_go_unless_their_context_differs():
    repeated = like(RAIN, question="why does it  RAIN?")
    continued = like(RAIN, context=("I have a question.",))
    quality = QualityFilter(QualityConfig())
    assert quality.texts([RAIN, repeated, continued, like(continued), TEA]) == [RAIN, continued, TEA]
    assert rejected(quality) == {"duplicate": 2}


def test_lengths_are_of_question_and_answer_each():
    short, long = like(TEA, question="Tea"), like(TEA, answer="Two to three minutes. " * 5)
    quality = QualityFilter(QualityConfig(min_chars=4, max_chars=100))
    assert quality.texts([short, RAIN, long]) == [RAIN]
    assert rejected(quality) == {"too_short": 1, "too_long": 1}


def test_garbled_pairs_go_only_when_asked_for():
    noise = like(TEA, answer="|-|-| 0x00 #### ;;;; 17 %% 3 $$ 22 --")
    assert QualityFilter(QualityConfig()).texts([noise]) == [noise]
    quality = QualityFilter(QualityConfig(drop_garbled=True))
    assert quality.texts([noise, TEA, like(RAIN, question="?!?!")]) == [TEA]
    assert rejected(quality) == {"garbled": 2}


def test_cosines_below_and_above_the_limits_go():
    quality = QualityFilter(QualityConfig(min_cosine=0.1, max_cosine=0.9))
    given = [RAIN, SNOW, TEA, like(TEA), like(RAIN)]
    assert quality.cosines(given, np.array([0.1, 0.9, 0.5, 0.05, 0.95], np.float64)) == [RAIN, SNOW, TEA]
    assert rejected(quality) == {"low_cosine": 1, "high_cosine": 1}
    assert QualityFilter(QualityConfig()).cosines(given, np.array([-1.0, 1, 0, 0, 0])) == given


def test_cosines_must_be_one_number_per_pair():
    quality = QualityFilter(QualityConfig(min_cosine=0.1))
    with pytest.raises(InputError) as error:
        quality.cosines([RAIN, TEA], np.array([0.5]))
    assert str(error.value) == "cosines must be [2] without NaN; got [1] with 0 NaN"
    with pytest.raises(InputError) as error:
        quality.cosines([RAIN, TEA], np.array([0.5, np.nan]))
    assert str(error.value) == "cosines must be [2] without NaN; got [2] with 1 NaN"


def test_the_first_pairs_of_a_domain_stay():
    quality = QualityFilter(QualityConfig(max_per_domain=1))
    assert quality.balance([RAIN, SNOW, TEA, like(SNOW)]) == [RAIN, TEA]
    assert rejected(quality) == {"domain_full": 2}


def test_the_report_counts_every_pair_once_with_its_first_reason():
    config = QualityConfig(min_chars=2, drop_garbled=True, near_duplicates=0.7, min_cosine=0.2, max_per_domain=1)
    quality = QualityFilter(config)
    kept = quality.texts(
        [
            RAIN,
            like(RAIN),
            like(RAIN, answer=RAIN.answer.replace("drops", "raindrops")),
            like(TEA, answer="\x1b[31m\x00\x01\x02\x03"),
            SNOW,
            TEA,
            like(TEA, question="?"),
            *(like(TEA, question=char) for char in "abcd"),
        ]
    )
    kept = quality.cosines(kept, np.array([0.5, 0.6, 0.1]))
    assert quality.balance(kept) == [RAIN]
    assert str(quality.report) == (
        "11 pairs seen, 1 kept\n"
        "  too_short       5  ? -> Two to three minutes in water of 80 deg…\n"
        "                     a -> Two to three minutes in water of 80 deg…\n"
        "                     b -> Two to three minutes in water of 80 deg…\n"
        "  duplicate       1  Why does it rain? -> Warm air rises, cools, and lets go of i…\n"
        "  garbled         1  How long does green tea steep? -> \ufffd[31m\ufffd\ufffd\ufffd\ufffd\n"
        "  near_duplicate  1  Why does it rain? -> Warm air rises, cools, and lets go of i…\n"
        "  low_cosine      1  How long does green tea steep? -> Two to three minutes in water of 80 deg…\n"
        "  domain_full     1  Why does it snow? -> Below zero the water of a cloud freezes…"
    )
    stored = json.loads(json.dumps(quality.report.as_dict()))
    assert (stored["seen"], stored["kept"]) == (11, 1)
    assert stored["rejected"]["domain_full"] == {
        "count": 1,
        "examples": ["Why does it snow? -> Below zero the water of a cloud freezes…"],
    }


# --- Garbled

WORDS = [
    "Early stopping halts training when the loss on a held-out set has not improved for some epochs.",
    "Wie lange soll grüner Tee ziehen? Zwei bis drei Minuten, und das Wasser darf nicht kochen.",
    "L'été dernier, où étais-tu passé ? À Besançon, près de la forêt.",
    "Почему идёт дождь? Тёплый воздух поднимается, остывает и отдаёт воду.",
    "为什么会下雨?因为暖空气上升后冷却,水汽凝结成水滴落下来。",
    "なぜ雨が降るのですか。暖かい空気が上昇して冷え、水蒸気が水滴になるからです。",
    "비가 왜 오나요? 따뜻한 공기가 올라가서 식으면 물방울이 됩니다.",
    "لماذا ينزل المطر؟ لأن الهواء الدافئ يرتفع ويبرد فيتكاثف بخار الماء.",
    "מדוע יורד גשם? אוויר חם עולה, מתקרר, והאדים הופכים לטיפות.",
    "बारिश क्यों होती है? गर्म हवा ऊपर उठती है, ठंडी होती है और पानी बूँदों में गिरता है।",
    "ทำไมฝนตก เพราะอากาศอุ่นลอยขึ้นแล้วเย็นลงจนไอน้ำกลายเป็นหยดน้ำ",
    "বৃষ্টি কেন হয়? গরম বাতাস উপরে উঠে ঠান্ডা হয়ে জলের ফোঁটা তৈরি করে।",
    "Use os.path.join(a, b) rather than a + '/' + b; it's portable.",
    "Run `pip install -c constraints.txt .` and then `pytest -q tests/`.",
    "for i in range(10):\n    total += x[i] * w[i]",
    "SELECT name FROM users WHERE id = 42 AND age >= 18;",
    "A line break in HTML is <br>, a paragraph <p>...</p>.",
    "See https://example.org/questions/123456/how-to-read-a-file?sort=votes&page=2 for more.",
    "The keyword is Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft.",
    "x² + y² = r²",
    "42",
    "1989",
    "3.14159",
    "12:30",
    "+49 30 1234567",
    "€ 5",
    "C++",
    "No.",
    "是",
    "ja",
    "Hmmmmm...",
    "Great 👍🏽 thanks 👨‍👩‍👧!",
    "Goooooal! What a match, and what a way for it to end.",
    "Ha ha ha ha!",
    'Seeing "Ã©" where "é" belongs usually means UTF-8 was decoded as Latin-1.',
    "Title\n" + "=" * 40 + "\nThe section explains in detail how the lines above and below a title are drawn, and why.",
]
GARBAGE = [
    "???",
    "-----",
    "…",
    "\U0001f600\U0001f600",
    "@#$%^&*(){}[]|~!",
    "aaaaaaaaaaaaaaaaaaaa",
    "noooooooooooooooooooo way",
    "======================== x",
    "8837293829 3819 283746 9182736 12",
    "| 12 | 34 | 56 | 78 | 90 | 11 | a | b |",
    "spam spam spam spam spam spam spam spam spam spam",
    "la la la la la la la la la la la la",
    "哈哈嘿" * 30,
    "Buy now! Click here! " * 20,
    '<div class="a"><span style="b"></span><img src="c.png"/></div> hi',
    "&nbsp;&nbsp;&nbsp;&nbsp;&amp;&quot;&#39; ok",
    "caf\ufffd \ufffd la",
    "\x00\x01\x02abc\x03",
    "\ue000\ue001\ue002 abc",
    "Почему идёт дождь?".encode().decode("cp1251"),
    "Où étais-tu passé, l'été ?".encode().decode("cp1252", errors="replace"),
    "été, là, été".encode().decode("cp1252"),
    "aGVsbG8gd29ybGQgdGhpcyBpcyBiYXNlNjQgb2Ygc29tZXRoaW5nIHRoYXQgbm9ib2R5IHJlYWRz",
    "d41d8cd98f00b204e9800998ecf8427ed41d8cd98f00b204e9800998ecf8427e",
]


@pytest.mark.parametrize("text", WORDS)
def test_words_of_any_script_are_not_garbled(text):
    assert not garbled(text)


@pytest.mark.parametrize("text", GARBAGE)
def test_garbage_is_garbled(text):
    assert garbled(text)


def test_nothing_in_the_built_in_set_is_garbled():
    assert [text for each in load_dialogues("builtin") for text in (each.question, each.answer) if garbled(text)] == []


def test_a_published_corpus_in_many_languages_is_not_garbled():
    corpus = pytest.importorskip("chatterbot_corpus.corpus")
    texts = {text for each in load_dialogues(corpus.DATA_DIRECTORY) for text in (each.question, each.answer)}
    assert len(texts) > 10_000
    assert sum(map(garbled, texts)) <= 3


def test_a_long_text_is_not_taken_for_repetition():
    text = " ".join(each.answer for each in load_dialogues("builtin")[::5])
    assert len(text) > 50_000
    assert not garbled(text)


# --- Near duplicates


def pieces(dialogue):
    text = f"{normalize(dialogue.question)}\n{normalize(dialogue.answer)}".ljust(5, "\0")
    return {text[i : i + 5] for i in range(len(text) - 4)}


def near_duplicates_of_all_pairs(dialogues, threshold):
    """The definition, without hashes."""
    kept, found = [], []
    for place, each in enumerate(dialogues):
        own = pieces(each)
        if any(len(own & other) >= threshold * len(own | other) for other in kept):
            found.append(place)
        else:
            kept.append(own)
    return found


def varied(count, copies, seed, words=400):
    """Random sentences, and copies of them with a few words changed."""
    rng = np.random.default_rng(seed)
    letters = np.array(list("abcdefghijklmnoprstuvwz"))
    vocabulary = ["".join(rng.choice(letters, rng.integers(2, 9))) for _ in range(words)]

    def sentence(length):
        return [vocabulary[i] for i in rng.integers(0, words, length)]

    made = [(sentence(rng.integers(3, 12)), sentence(rng.integers(3, 25))) for _ in range(count)]
    for _ in range(copies):
        question, answer = (list(part) for part in made[rng.integers(len(made))])
        for _ in range(rng.integers(0, 6)):
            answer[rng.integers(len(answer))] = vocabulary[rng.integers(words)]
        made.append((question, answer))
    return [Dialogue(" ".join(q), " ".join(a), "", "", (), row) for row, (q, a) in enumerate(made)]


@pytest.mark.parametrize("threshold", [0.2, 0.3, 0.5, 0.65, 0.8, 0.9, 1.0])
def test_what_is_found_is_what_comparing_all_pairs_finds(threshold):
    # Each is missed with a probability of at most 0.1%, by fixed hashes: none of these is.
    for seed in range(3):
        dialogues = varied(120, 120, seed)
        found = near_duplicates(dialogues, threshold)
        assert found == near_duplicates_of_all_pairs(dialogues, threshold)
        assert found


def test_small_changes_of_real_texts_are_near_duplicates():
    changed = [
        like(RAIN, question="why  does it RAIN ?"),
        like(RAIN, answer="Warm air rises, cools, and then lets go of its water as drops."),
    ]
    quality = QualityFilter(QualityConfig(near_duplicates=0.75))
    assert quality.texts([RAIN, *changed, SNOW, TEA]) == [RAIN, SNOW, TEA]
    assert rejected(quality) == {"near_duplicate": 2}


def test_near_duplicates_are_found_in_other_scripts_and_in_short_texts():
    chinese = Dialogue("为什么会下雨?", "因为暖空气上升后冷却,水汽凝结成水滴落下来,这就是雨。", "", "")
    changed = like(chinese, answer=chinese.answer.replace("这就是雨", "就是雨"))
    short = Dialogue("a", "b", "", "")
    assert near_duplicates([chinese, short, changed, like(short), like(short, answer="c")], 0.7) == [2, 3]
    assert near_duplicates([], 0.7) == []


def test_the_same_words_in_another_context_are_no_near_duplicate():
    thanks = Dialogue("Thank you!", "You're welcome.", "", "", ("Where is the station?", "Over there."))
    other = like(thanks, context=("How late is it?", "Half past two."))
    assert near_duplicates([thanks, other, like(thanks, question="Thank you !!")], 0.6) == [2]


def test_what_is_dropped_drops_nothing_else():
    chain = [
        Dialogue("count", " ".join(str(12345 + i * 7919) for i in range(start, start + 20)), "", "")
        for start in (0, 3, 6)
    ]
    assert near_duplicates(chain, 0.6) == [1], "the third is far enough from the first"


def test_ten_thousand_pairs_take_seconds_and_give_the_same_twice():
    dialogues = varied(8_000, 2_000, seed=5, words=3_000)
    quality = QualityFilter(QualityConfig(near_duplicates=0.8))
    start = time.process_time()
    kept = quality.texts(dialogues)
    assert time.process_time() - start < 10
    assert 8_000 <= len(kept) < 9_500
    assert QualityFilter(QualityConfig(near_duplicates=0.8)).texts(dialogues) == kept


def test_ten_thousand_copies_of_one_pair_are_no_worse():
    copies = [like(RAIN, answer=f"{RAIN.answer} {number}", row=number) for number in range(10_000)]
    start = time.process_time()
    assert near_duplicates(copies, 0.7) == list(range(1, 10_000))
    assert time.process_time() - start < 10
