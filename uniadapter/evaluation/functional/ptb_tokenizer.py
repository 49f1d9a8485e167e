"""Caption tokens as the scores of COCO captions define them, without Java.

Published figures come from a Java program that splits text as in the Penn Treebank, with the
settings "one caption a line" and "lower case", followed by the removal of a list of punctuation
tokens. The rules below were written from what that program does with probing texts. How far the two
agree is measured in ``docs/caption_metrics.md``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

# What is removed. The names of round and curly brackets stand in capitals in the published list
# but in small letters in the tokens, so brackets do survive as tokens.
PUNCTUATION = frozenset(
    ["''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-"]
    + [".", "?", "!", ",", ":", "-", "--", "...", ";"]
)

_SPLIT_WORDS = {"cannot": 3, "gonna": 3, "gotta": 3, "wanna": 3, "gimme": 3, "lemme": 3}

# Words that keep their period: in any letter case, capitalised only, and before a number only.
_ABBREVIATIONS = """
    adj adm adv al ala alex apr ariz assn assoc asst atty attys aug ave bancorp bhd bldg blvd
    brig bros calif capt cf cie cmdr co col colo comdr conn corp cos cpl ct dak dec dept det dr
    drs elec ens esq est etc ext feb fla fri ft ga gen gov govs hon inc ind insp intl invt jan
    jos jr jul jun kan kans ky lieut lt ltd maj mar md messrs mfg mich minn mlle mme mo mon mont
    mr mrs ms msgr mt mtg natl neb nev nov oct okla penn pfc ph plc pres prof profs pte ptes pty
    pvt rd rep reps rev rt sen sens sep sept seq sfc sgt spc sq sr st ste supt supts sys tel
    tenn thu thurs tue tues univ va vs vt wed wis wisc wm wyo
"""
_CAPITALISED = "Ark Az Del Ill La Mass Miss Ore Pa Tex Wash"
_BEFORE_NUMBERS = "art ca fig figs no nos op pp prop"
# A single letter before a period is no initial when one of these, capitalised, follows.
_OPENERS = """
    A About According Additionally After An And As At But By Earlier He Her Here However If In It
    Last Many More Now Once One Other Our She Since So Some Such That The Their Then There These
    They This We What When While Yet You
"""

_FILE_TYPES = """
    bat bmp c cpp doc docx exe gif h htm html jpeg jpg mov mp3 pdf php png ppt pptx py txt wav x xml
    zip
"""

_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_FRACTIONS = {"¼": "1/4", "½": "1/2", "¾": "3/4", "⅓": "1/3", "⅔": "2/3", "⅛": "1/8", "⅜": "3/8"}
_FRACTIONS |= {"⅕": "1/5", "⅖": "2/5", "⅗": "3/5", "⅘": "4/5", "⅝": "5/8", "⅞": "7/8"}
_WHOLE = {"£": "#", "€": "$", "¢": "cents", "…": "..."} | _FRACTIONS
_ENTITIES = {"amp": "&", "lt": "<", "gt": ">", "quot": "''", "apos": "'", "nbsp": "", "mdash": "--"}

# Letters and what accents them, but none of the fractions and superscripts that "\w" has too.
_L = r"(?:[^\W\d_\u00b2\u00b3\u00b9\u00bc-\u00be\u2070-\u2089\u2150-\u215e]|[\u0300-\u036f])"
_A = r"[A-Za-z0-9]"
_APOS = r"['\u2019\u0092]"
_QUOTES = r"['\u2019\u0092`\u2018]"
_NUMBER = r"(?:\d*(?:[.:,]\d+)+|\d+)"
_SPACE = r"[ \u00a0]"
_NAME = r"[A-Za-z][A-Za-z0-9_:.-]*"
_URL_END = r"[^\s\"<>|.!?(){},-]"


def _any(words: str) -> str:
    """Alternation that prefers longer words."""
    return "|".join(sorted(words.split(), key=len, reverse=True))


# At each place the rule with the longest match makes the token, as in a generated lexer; the first
# of them if several match equally far. The group "t", if any, is the token; what follows it in
# the match only has to be there.
_RULES = [
    # mark-up
    rf"</?{_NAME}(?:[ ]+{_NAME}(?:=\"[^\"]*\"|='[^']*')?)*[ ]*/?>|<[!?][A-Za-z-][^>]*>",
    # contractions and what stands before them
    rf"(?P<t>[A-Za-z]*[A-MO-Za-mo-z])[nN]{_QUOTES}[tT]",
    rf"[nN]{_QUOTES}[tT]",
    rf"(?:{_APOS}(?:[msdMSD]|re|ve|ll|RE|VE|LL))(?![A-Za-z])",
    r"(?P<t>'[tT])(?i:is|was)",
    rf"{_APOS}[nN]{_APOS}|{_APOS}[nN](?![A-Za-z])|{_APOS}(?i:em|till?|cause)|somethin{_APOS}|ol{_APOS}",
    rf"[lLdDjJyY]{_APOS}(?={_L}|\d)|[lLdDjJ]{_APOS}",
    rf"[dDoOlLnN]{_QUOTES}{_A}{{2,}}|[qQ]u{_APOS}[A-Za-z]{{2,}}|[cC]{_APOS}(?:est|mon)",
    r"(?i:ma'am|n?e'er|o'er|cap'n|nat'l)",
    # words
    rf"{_L}(?:{_L}|\d)*(?:[.!?]{_L}(?:{_L}|\d)*)*",
    rf"\d+(?:{_L}|\d)*",
    rf"{_A}[A-Za-z0-9.,]*(?:-(?:[A-Za-z](?:\.[A-Za-z])+\.|{_A}+))+",
    rf"(?:{_L}|\d)+(?:[-_\u2010\u2011](?:{_L}|\d)+)+",
    rf"{_A}+(?:-[A-Za-z]+){{0,2}}(?:/{_A}+(?:-[A-Za-z]+){{0,2}}){{1,2}}",
    r"[A-Z]+(?:[+&][A-Z]+)+",
    r"[cC]\+\+|[cCfF]#",
    rf"{_A}+(?:\.{_A}+)*\.(?:{_any(_FILE_TYPES)})(?=[ .?!,\"<]|$)",
    # abbreviations and initials
    rf"(?i:(?:ed|ph)\.d|{_any(_ABBREVIATIONS)})\.",
    rf"(?:{_any(_CAPITALISED)}|{_any(_CAPITALISED.upper())})\.",
    rf"(?P<t>(?i:{_any(_BEFORE_NUMBERS)})\.){_SPACE}*\d",
    r"[A-Za-z](?:\.[A-Za-z])*\.|(?i:canada|sino|korean|eu|japan|non)-u\.s\.",
    rf"(?P<t>[A-Za-z])\.{_SPACE}+(?:{_any(_OPENERS)})(?![A-Za-z])",
    # numbers
    rf"[-+]?{_NUMBER}",
    r"(?:\d{1,4}[-\u00a0 ])?\d{1,4}[/\u2044]\d{1,4}",
    r"\d{1,2}[-/]\d{1,2}[-/]\d{2,4}",
    rf"(?:\(\d{{2,3}}\){_SPACE}?|(?:\+\+?)?(?:\d{{2,4}}[- \u00a0])?\d{{2,4}}[- \u00a0])"
    r"\d{3,4}[- \u00a0]?\d{3,5}",
    rf"{_APOS}[0-9]0s|'\d\d(?!\d|{_L}|'|[.:,]\d)",
    r"[A-Z]*\$",
    # addresses
    rf"(?i:https?)://[^\s\"<>|()]+{_URL_END}",
    rf"www\.(?:[^\s\"<>|.!?(){{}},]+\.)+[a-zA-Z]{{2,4}}(?:/[^\s\"<>|()]+{_URL_END})?",
    rf"(?:[^\s\"`'<>|.!?(){{}},-_]+\.)+(?:com|net|org|edu)(?:/[^\s\"<>|()]+{_URL_END})?(?!{_L})",
    rf"<?{_A}[^\s\"<>|()]*@(?:[^\s\"<>|().]+\.)*[^\s\"<>|().]+>?",
    rf"@[A-Za-z_][A-Za-z_0-9]*|#{_L}+",
    # faces
    r"(?:[<>]?[:;=][-o*']?[()DPdpO\\{@|\[\]])(?![A-Za-z0-9])",
    r"[-^x=~<>']_[-^x=~<>']|\([-^x=~<>'][_.]?[-^x=~<>']\)|\([\^x=~<>']-[\^x=~<>'`]\)",
    # runs of marks
    r"\.{3,5}|(?:\.[ ]){2,4}\.",
    r"-{2,4}|[\u2013\u2014\u2015\u0096\u0097]",
    r"[!?]{2,}|\\?\*+|_+|-{5,}|@{2,}|#{2,}|<<|>>|''|``",
    rf"&(?i:{'|'.join(_ENTITIES)}|#\d+);",
]
_COMPILED = [re.compile(rule) for rule in _RULES]
_PLAIN_WORD = re.compile(r"[A-Za-z]+(?= |$)")
_DOTS = re.compile(r"\.{3,5}|(?:\. ){2,4}\.")
_DASHES = re.compile(r"-{2,4}|[\u2013\u2014\u2015\u0096\u0097]")
_CONTRACTION = re.compile(rf"(?i:n?{_APOS}(?:s|m|d|re|ve|ll|t))")
_DOUBLE_QUOTES = frozenset('"“”«»')
_SINGLE_QUOTES = frozenset("'`‘’‹›")


def _longest(text: str, start: int) -> str:
    """The token at a place of the text."""
    end, token = start, ""
    for rule in _COMPILED:
        found = rule.match(text, start)
        if found is not None and found.end() > end:
            end = found.end()
            token = found["t"] if "t" in rule.groupindex else found[0]
    return token or text[start]


def _is_dropped(char: str) -> bool:
    """Whether a character is none that the published tokenizer knows, such as an emoji."""
    return (
        ord(char) > 0xFFFF
        or char in "\u2011\u2025"
        or unicodedata.category(char) in ("Cf", "Cc", "Mn", "Cn", "Co", "Cs")
    )


def _written(token: str) -> str:
    """The token as it is printed: brackets named, quotes, dashes and currencies unified."""
    if token in _WHOLE:
        return _WHOLE[token]
    if token[0] == "&" and token[1:-1].lower() in _ENTITIES:
        return _ENTITIES[token[1:-1].lower()]
    if token in _DOUBLE_QUOTES:
        return "''"
    if token in _SINGLE_QUOTES:
        return "'"
    if _DOTS.fullmatch(token):
        return "..."
    if _DASHES.fullmatch(token):
        return "--"
    if len(token) == 1:
        return _BRACKETS.get(token, token.lower())
    if not (token.startswith("<") and token.endswith(">")):
        token = token.replace("(", "-lrb-").replace(")", "-rrb-")
    if _CONTRACTION.fullmatch(token):
        token = token.replace("\u2019", "'").replace("\u0092", "'")
    # A no-break space holds "2 1/2" together in a line that is split at spaces.
    return token.replace(" ", "\u00a0").lower()


def _tokens(text: str) -> list[str]:
    tokens: list[str] = []
    start = 0
    while start < len(text):
        if text[start] == " ":
            start += 1
            continue
        plain = _PLAIN_WORD.match(text, start)
        token = plain[0] if plain is not None else _longest(text, start)
        start += len(token)
        if len(token) == 1 and _is_dropped(token):
            continue
        written = _written(token)
        at = _SPLIT_WORDS.get(written)
        if at is not None and _CONTRACTION.match(text, start) is None:
            tokens += [written[:at], written[at:]]
        elif written:
            tokens.append(written)
    return tokens


def ptb_tokens(caption: str) -> list[str]:
    """Split a caption into lower-case tokens, punctuation included.

    Args:
        caption: Any text; line breaks count as spaces.

    Returns:
        Its tokens, named as the published tokenizer prints them (``'-lrb-'`` for ``'('``); double
        quotes are ``"''"`` and single ones ``"'"`` whichever side they open.
    """
    text = re.sub(r"[\s\u200b\ufeff]+", " ", caption.replace("\u00ad", ""))
    return _tokens(text)


def tokenize_caption(caption: str) -> str:
    """A caption as BLEU, ROUGE and CIDEr compare it.

    Args:
        caption: Any text.

    Returns:
        Its tokens without the punctuation, one space between them; may be empty.
    """
    return " ".join(token for token in ptb_tokens(caption) if token not in PUNCTUATION)


def tokenize_captions(captions: Mapping[Any, Sequence[str]]) -> dict[Any, list[str]]:
    """Tokenize the captions of many images.

    Args:
        captions: Image id to its captions.

    Returns:
        Image id to its tokenized captions, in the same order.
    """
    return {image: [tokenize_caption(text) for text in texts] for image, texts in captions.items()}
