"""Language: whether a report is English, by the words that each language cannot do without."""
# ruff: noqa: RUF001 - letters of other alphabets are the point here

import re
from collections import Counter, defaultdict

_WORD = re.compile(r"[^\W\d_]+")
_LATIN = re.compile(r"[A-Za-z\u00aa-\u024f\u1e00-\u1eff]")

# Function words, and the words of imaging that differ between languages; none is in two lists
# unless both languages use it.
_WORDS = {
    "English": """
        the of and in is are no there with to was were not a an or for on at by from has have been
        which this that as within without but both than seen noted be its also be can may new
        normal right left lung lungs lobe upper lower middle chest heart size effusion nodule
        nodules mass enlarged lymph node nodes pleural pericardial evidence unremarkable stable
        mild moderate severe small large consolidation opacity opacities clear bilateral changes
        examination observed present absent limits contours aortic artery wall disease thickening
        """,
    "German": """
        der die das und ist sind nicht kein keine keinen im in den dem des mit ein eine einer eines
        von zu auf als auch sich bei nach an am zum zur für sowie ohne links rechts beidseits
        lunge lungen herz nachweis normal größe oberlappen unterlappen erguss rundherd kleiner
        unauffällig befund beurteilung thorax beidseitig vergrößert verdickung hinweis
        """,
    "French": """
        le la les de des du un une et est sont dans pas avec sans au aux en par sur pour ce cette
        il y a qui que ou ni droit droite gauche poumon poumons coeur cœur absence
        épanchement lobe nodule taille normale supérieur inférieur pleural
        """,
    "Spanish": """
        el la los las de del un una y es son en no con sin se por para al lo que como a su
        derecho derecha izquierdo izquierda pulmón pulmones corazón tamaño derrame
        lóbulo nódulo normal superior inferior observa observan evidencia ambos pleural
        """,
    "Portuguese": """
        o os as de do da dos das um uma e em no na nos nas não com sem se por para ao que
        direito direita esquerdo esquerda pulmão pulmões coração tamanho
        derrame lobo nódulo superior inferior ausente sinais há ausência
        """,
    "Italian": """
        il lo la i gli le di del della dei delle un una e è sono in non con senza si per al
        alla che nel nella da dal destro destra sinistro sinistra polmone polmoni cuore dimensioni
        versamento lobo nodulo superiore inferiore presenza assenza normale
        """,
    "Dutch": """
        de het een en is zijn niet geen in van met op te bij aan voor als ook naar zonder links
        rechts beiderzijds long longen hart grootte pleuravocht bovenkwab onderkwab afwijkingen
        aanwijzingen normale wordt worden
        """,
    "Turkish": """
        ve bir bu ile için de da olarak olan izlenmedi izlendi izlenmektedir mevcuttur
        saptanmadı yoktur sağ sol akciğer kalp boyutları normal her iki alt
        üst lob nodül plöral efüzyon doğaldır görüldü
        """,
    "Polish": """
        i w z na nie do jest są o od po bez oraz się prawy prawego lewy lewego płuco
        płuc płuca serce zmian płyn płata guzek prawidłowej wielkości
        opłucnej cech stwierdza obustronnie
        """,
    "Swedish": """
        och i att det som en ett är inte av med för på den till inga ingen utan
        höger vänster lunga lungor hjärta storlek lob vätska normal förstorade ses
        """,
}
_LANGUAGES_OF: dict[str, set[str]] = defaultdict(set)
for _language, _words in _WORDS.items():
    for _word in _words.split():
        _LANGUAGES_OF[_word].add(_language)
_FEWEST_WORDS = 6
_FEWEST_LETTERS = 24
"""A text shorter than both is not judged (some scripts have no spaces)."""
_LEAST_LATIN = 0.6
"""Of the letters of a text in a language that these lists know."""
_LEAST_SHARE = 0.1
"""Of the words of a text that must be in the list of a language for it to be told."""
_LEAST_ENGLISH = 0.05
"""Of the words of an English text of some length, however terse."""
_SOME_LENGTH = 10


def other_language(text: str) -> str:
    """The language of a text that is not English, as a message may name it.

    The answer that a text is not English is surer than which language it is.

    Args:
        text: A report or a section of one.

    Returns:
        "" for English, for texts of a few words and where nothing can be told.
    """
    words = _WORD.findall(text.lower())
    letters = "".join(words)
    if len(words) < _FEWEST_WORDS and len(letters) < _FEWEST_LETTERS:
        return ""
    if len(_LATIN.findall(letters)) < _LEAST_LATIN * len(letters):
        return "a language in another script"
    votes = Counter(name for word in words for name in _LANGUAGES_OF.get(word, ()))
    language, num = max(votes.items(), key=lambda item: item[1], default=("", 0))
    if num >= _LEAST_SHARE * len(words) and num > votes["English"]:
        return language
    too_few = votes["English"] < _LEAST_ENGLISH * len(words)
    return "another language" if too_few and len(words) >= _SOME_LENGTH else ""
