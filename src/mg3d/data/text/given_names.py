"""Given names that betray a person's name written without a title or other cue.

Frequent ones of several countries. Names that are also words of reports, or the first word of an
eponym, are left out (Austin Flint murmur, Grant, May, Will); so the list finds some names, not all.
"""

_NAMES = """
aaron abdul abigail adam adrian agnes ahmed aisha alan albert alejandro alexander alexandra alfred
ali alice alicia amanda amelia amy ana andre andrea andreas andrew angela ann anna anne anthony
antonio arthur ashley ayse barbara benjamin bernard betty brandon brenda brian bruce bryan camille
carl carlos carmen carol caroline carolyn catherine charles charlotte cheryl chloe christian
christina christine christoph christopher claire claudia craig cynthia daniel danielle david debbie
deborah debra denise dennis diana diane diego dominik donald donna doris dorothy douglas dylan
edward eileen elena elizabeth ellen emily emma emre eric erika esther ethan eugene eva evelyn
fatima fatma federico felix fernando florian frances francesca francesco francisco frank
frederick gabriel gary george gerald giovanni giulia giuseppe gloria gregory guillaume hannah
hans harold harry hassan heather helen henry hiroshi howard hussein ibrahim ingrid isabel isabella
ivan jack jacob jacqueline james jan jane janet janice jason javier jean jeffrey jennifer jeremy
jessica joan johann johannes john jonathan jorge jose joseph joshua joyce juan judith judy julia
julie julien justin karen karl katarzyna katherine kathleen kathryn katja keith kelly kenneth kevin
kimberly klaus krzysztof kyle larry laura lauren laurent lawrence leonardo linda lisa lorenzo louis
louise lucas lucia luigi luis lukas luke madison manuel marco margaret maria marie mario marilyn
mark markus martha martin mary maryam mateo matteo matthew maurice mehmet melissa michael michel
michelle miguel mohamed mohammad mohammed monica muhammad mustafa nancy natalia natalie nathan
nicholas nicola nicolas nicole nikolai noah norma oliver olivia omar oscar pablo pamela paolo
patricia patrick paul paula pedro peter petra philip philippe pierre piotr priya rachel rajesh
ralph ramon raymond rebecca ricardo richard robert roberto roger roland ronald rosa russell
ruth ryan sabine samantha samuel sandra sanjay santiago sara sarah scott sean sebastian sergio
sharon sophia sophie stefan stefano stephanie stephen steven stuart sunita susan susanne takashi
teresa theodore theresa thomas timothy tyler ursula valentina vanessa veronica victoria vincent
virginia vladimir walter wayne wei wilhelm william wolfgang yolanda yuki yusuf zachary zeynep
"""
GIVEN_NAMES = frozenset(_NAMES.split())
"""In small letters."""
