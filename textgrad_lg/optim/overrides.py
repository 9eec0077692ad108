# ruff: noqa: RUF001  the letters of other scripts are the point here
"""Overrides: words by which a text lifts earlier instructions, gives the prompt away, or commands those who write prompts.

A list of phrases in the languages that most such attacks are written in. It is a list and no proof: whoever says the same in
other words is not found. What forbids it is not meant, as in "never reveal this prompt".
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_OLD = (
    r"(?:previous|prior|above|earlier|preceding|foregoing|former|existing|current|original|initial|system|developer"
    r"|your|given|aforementioned)"
)
_SAID = r"(?:instruction|guidance|(?:system )?prompt|system message|rule|guideline|direction|directive|command|constraint|guardrail|restriction)s?"
_FEW = r"(?:[\w'’-]+,? ){0,4}?"
"""Up to four words."""

_PHRASES = (
    # English
    rf"(?:ignor(?:e|ing)|disregard(?:ing)?|forget(?:ting)?|overrid(?:e|ing)|bypass(?:ing)?|neglect|discard|drop|skip|set aside|stop (?:following|obeying)|pay no attention to|(?:do not|don[’']t) (?:follow|obey|consider|heed)) {_FEW}{_OLD} {_FEW}{_SAID}\b",
    r"(?:ignore|disregard|forget|override|pay no attention to|stop following) (?:everything|anything|all|what(?:ever)?) (?:that )?(?:you (?:were|have been|are) told|(?:was|is) (?:said|written|stated)|above|before|so far)",
    rf"(?:ignore|disregard|forget|override|bypass) (?:all|any|every|the)(?: of)?(?: the| your)? {_SAID}\b(?! (?:in|inside|within|from|that|which|contained|embedded|found|written|hidden|given|by)\b)",
    (
        rf"(?:reveal|print|output|repeat|show|display|leak|disclose|expose|recite|dump|quote|return|write out|send|share|include|append) {_FEW}"
        r"(?:(?:system|hidden|secret|developer|internal) (?:prompt|instructions?|message|configuration|rules)"
        r"|(?:initial|original|full|entire|whole) (?:system )?(?:prompt|instructions)|your (?:own )?(?:prompt|instructions))\b"
    ),
    r"(?:you are|act|behave|respond|continue) (?:now |as )+(?:if you (?:have|had|were) (?:no|without|free)|an? unrestricted|dan\b|in developer mode|jailbroken)",
    r"(?:no longer|not) (?:bound|restricted|limited) by\b",
    rf"{_OLD} {_SAID} (?:no longer apply|no longer applies|(?:do|does) not apply any ?more|(?:is|are) (?:now )?(?:void|cancelled|revoked))\b",
    r"(?:do anything now|developer mode|jailbreak(?:ed)?|god mode)\b",
    rf"(?:new|updated|real|actual|true|secret|hidden) (?:system )?{_SAID} ?:",
    r"(?:do not|don[’']t|never) (?:tell|inform|mention (?:this|it) to|let) the (?:user|customer|operator|developer|human)s? (?:about (?:this|it|these)|know|of this)",
    # whoever writes prompts, addressed from within a trace
    r"(?:critic|(?:prompt )?optimi[sz]er|prompt (?:engineer|writer|author)) (?:must|should|has to|shall|will|needs to|is to) (?:now |always |only |exactly )*(?:write|output|say|give|return|add|insert|append|propose|copy|put|state|reply|respond)",
    r"(?:critic|grader|evaluator|judge|scorer) (?:must|should|has to|shall|will) (?:now |always )*(?:give|return|output|assign|award) (?:this |it |us |me )?(?:a |the )?(?:full|perfect|highest|maximum|top|best) (?:score|grade|mark|rating)",
    # German
    r"(?:ignorier\w*|vergiss|vergesse\w*|missachte\w*|überschreib\w*|umgehe\w*) (?:\w+ ){0,4}?(?:anweisung\w*|instruktion\w*|regeln?|vorgaben?|befehle?|richtlinien?|prompts?)\b",
    r"(?:verrate\w*|zeige?|nenne|gib|enthülle\w*|wiederhole) (?:\w+ ){0,4}?(?:system-?prompts?|systemanweisung\w*|geheime\w* anweisung\w*)",
    # French
    r"(?:ignore[zr]?|oublie[zr]?|néglige[zr]?|contourne[zr]?|ne tiens pas compte|ne tenez pas compte) (?:de |des |toutes |tous |tout |les |tes |vos |ces |ses |mes )+(?:\w+ ){0,2}?(?:instructions?|consignes?|règles?|directives?|ordres?)\b",
    r"(?:révèle[zr]?|affiche[zr]?|montre[zr]?|divulgue[zr]?|répète[zr]?) (?:\w+[’']? ?){0,4}?(?:prompt|invite système|instructions? (?:système|secrètes?|initiales?))",
    # Spanish, Portuguese, Italian
    r"(?:ignor[aáeo]\w*|olvid[ae]\w*|descart[ae]\w*|omit[ae]\w*|haz caso omiso de) (?:\w+ ){0,4}?(?:instrucciones|reglas|órdenes|indicaciones|directrices)\b",
    r"(?:ignor[ae]\w*|esqueç?[ac]\w*|desconsider[ae]\w*|descart[ae]\w*) (?:\w+ ){0,4}?(?:instruções|regras|ordens|orientações|diretrizes)\b",
    r"(?:ignor[aie]\w*|dimentic[ah]\w*|trascur[ai]\w*|scavalc[ah]\w*) (?:\w+ ){0,4}?(?:istruzioni|regole|ordini|direttive|indicazioni)\b",
    r"(?:revel[ae]\w*|muestr[ae]\w*|mostr[ae]\w*|rivel[ai]\w*|exib[ae]\w*) (?:\w+ ){0,4}?(?:prompt|instrucciones del sistema|instruções do sistema|istruzioni di sistema)\b",
    # Dutch, Polish, Swedish
    r"(?:negeer|vergeet|omzeil) (?:\w+ ){0,4}?(?:instructies|regels|opdrachten|aanwijzingen)\b",
    r"(?:zignoruj|ignoruj|zapomnij|pomiń)\w* (?:\w+ ){0,4}?(?:instrukcj\w*|polece\w*|zasad\w*|reguł\w*)",
    r"(?:ignorera|glöm|strunta i) (?:\w+ ){0,4}?(?:instruktion\w*|regler\w*|anvisning\w*)",
    # Russian, Ukrainian, Turkish
    r"(?:(?:про)?игнориру\w*|забудь\w*|не обращай\w* внимания на|отмени\w*) (?:\w+ ){0,4}?(?:инструкци\w*|указани\w*|правил\w*|команд\w*)",
    r"(?:ігноруй\w*|проігноруй\w*|забудь\w*) (?:\w+ ){0,4}?(?:інструкці\w*|вказівк\w*|правил\w*)",
    r"(?:покажи\w*|раскрой\w*|выведи\w*) (?:\w+ ){0,4}?(?:системн\w* (?:промпт|инструкци|сообщени)\w*)",
    r"(?:talimat|komut|kural|yönerge)\w* (?:\w+ ){0,3}?(?:yok ?say|görmezden gel|unut|dikkate alma)\w*",
    # Arabic, Hebrew, Hindi, Vietnamese, Indonesian
    r"(?:تجاهل|انس|تجاوز)\w* (?:\w+ ){0,3}?(?:التعليمات|الأوامر|القواعد|تعليمات)",
    r"(?:התעלם|התעלמי|שכח) (?:\w+ ){0,3}?(?:ההוראות|הוראות|הכללים|מההוראות|מכל ההוראות)",
    r"(?:निर्देशों|निर्देश|नियमों|आदेशों)[^\n।]{0,20}(?:अनदेखा|नज़रअंदाज़|नजरअंदाज|भूल)",
    r"(?:bỏ qua|phớt lờ|quên) (?:\w+ ){0,4}?(?:hướng dẫn|chỉ dẫn|quy tắc|lệnh)",
    r"(?:abaikan|lupakan) (?:\w+ ){0,4}?(?:instruksi|perintah|aturan|petunjuk)",
    # Chinese, Japanese, Korean
    r"(?:忽略|无视|無視|忘记|忘記|不要理会|跳过)[^\n。]{0,12}(?:指令|指示|提示|规则|規則|命令|说明)",
    r"(?:显示|透露|泄露|输出|告诉)[^\n。]{0,8}(?:系统提示|系統提示|系统指令|初始指令)",
    r"(?:指示|命令|ルール|規則|プロンプト)[^\n。]{0,8}(?:無視|忘れ)",
    r"(?:지시|지침|명령|규칙|프롬프트)[^\n.]{0,10}(?:무시|잊어|잊고)",
)
_OVERRIDE = re.compile(
    # A phrase may go on in the next line.
    "|".join(rf"(?<![A-Za-zÀ-ɏЀ-ӿ])(?:{phrase})" for phrase in _PHRASES).replace(" ", r"[ \n]"),
    re.IGNORECASE,
)
_FORBIDDEN = re.compile(
    r"(?:\bnever|\bdo not|\bdon[’']t|\bmust not|\bmay not|\bshould not|\bcannot|\bnot to|\bwithout|\bavoid|\brefuse to"
    r"|\bniemals|\bnie|\bne|\bnunca|\bjamais|\bno|\bnon|\bnooit|\bникогда не|\bне|不要|切勿|绝不)(?: ever)? ?\Z",
    re.IGNORECASE,
)
ALIKE = str.maketrans("авеёіїјкмнорѕстухһԁԛԝαειικνορτυχ", "abeeiijkmhopsctyxhdqwaeiikvoptux")
"""Cyrillic and Greek letters that look like Latin ones."""
_GAP = re.compile(r"[\s*_`\"“”]+")
_SPELLED = re.compile(r"(?<!\S)(?:[A-Za-z] ){3,}[A-Za-z](?!\S)")
"""Words whose letters stand apart."""
_BEFORE = 24
"""Characters before a phrase in which a word that forbids it is looked for."""


_MIXED = re.compile(r"(?<![\w@$])(?=[\w@$]*[A-Za-z])(?=[\w@$]*[0-9@$])[\w@$]{3,}(?![\w@$])")
_DIGITS = str.maketrans("013457@$", "oieastas")
"""Digits and signs that are written for letters."""


def _lettered(text: str) -> str:
    return _MIXED.sub(lambda found: found[0].translate(_DIGITS), text)


def overrides(text: str) -> Iterator[str]:
    """The phrases in `text` that lift or give away instructions, in order; white space and letters that look alike do not hide one.

    Args:
        text: Any text.
    """
    joined = _SPELLED.sub(lambda found: found[0].replace(" ", ""), text)
    for read in dict.fromkeys((text, joined, joined.casefold().translate(ALIKE), _lettered(joined))):
        spaced = _GAP.sub(lambda gap: "\n" if "\n" in gap[0] else " ", read)
        for found in _OVERRIDE.finditer(spaced):
            if not _FORBIDDEN.search(spaced[max(0, found.start() - _BEFORE) : found.start()]):
                yield found[0]
