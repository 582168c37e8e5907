"""The words of the phantom's reports, a table in the order of `FINDINGS`.

``present`` names the finding alone, ``detailed`` adds place, size or severity (the slots are
filled by `reports`), ``absent`` negates it. The first wordings of each list are the ones that an
easy phantom uses. The prompts in ``recipes/prompts/phantom.yaml`` repeat wordings from here; its
``unseen`` wordings must not occur here, which a test checks.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Phrasing:
    """Wordings for one finding."""

    present: tuple[str, ...]
    detailed: tuple[str, ...]
    absent: tuple[str, ...]


PHRASES: tuple[Phrasing, ...] = (
    Phrasing(  # 0 medical material
        present=(
            "Medical material is present.",
            "Metallic medical device in the chest.",
            "There is medical material in the chest.",
            "A medical device is in place.",
        ),
        detailed=(
            "Medical material: {device}.",
            "There is {device}.",
            "{device} is seen.",
            "{device} in place.",
        ),
        absent=(
            "No medical material is present.",
            "No metallic medical device in the chest.",
            "There is no medical material.",
            "No medical device is seen.",
        ),
    ),
    Phrasing(  # 1 arterial wall calcification
        present=(
            "Calcification of the arterial wall.",
            "There are calcified plaques in the aortic wall.",
            "Arterial wall calcification is present.",
            "Atheromatous calcification of the aorta.",
        ),
        detailed=(
            "{severity} calcification in the wall of the {place}.",
            "Calcified plaques in the wall of the {place}.",
            "{severity} arterial wall calcification of the {place}.",
            "The wall of the {place} shows {severity} calcification.",
        ),
        absent=(
            "No calcification of the arterial wall.",
            "There are no calcified plaques in the aortic wall.",
            "No arterial wall calcification.",
            "The aortic wall shows no calcification.",
        ),
    ),
    Phrasing(  # 2 cardiomegaly
        present=(
            "The heart is enlarged.",
            "Cardiomegaly is present.",
            "Cardiomegaly.",
            "The size of the heart is increased.",
        ),
        detailed=(
            "The heart is enlarged to a {severity} degree.",
            "{severity} cardiomegaly.",
            "There is {severity} enlargement of the heart.",
            "The size of the heart is increased, {severity} cardiomegaly.",
        ),
        absent=(
            "The heart is not enlarged.",
            "No cardiomegaly.",
            "The heart is normal in size.",
            "The size of the heart is within normal limits.",
        ),
    ),
    Phrasing(  # 3 pericardial effusion
        present=(
            "Pericardial effusion is present.",
            "There is a pericardial effusion.",
            "Fluid in the pericardium.",
            "Pericardial effusion.",
        ),
        detailed=(
            "Pericardial effusion with a thickness of {size} mm.",
            "{severity} pericardial effusion measuring {size} mm.",
            "Fluid in the pericardium, {size} mm thick.",
            "There is {severity} pericardial effusion.",
        ),
        absent=(
            "No pericardial effusion.",
            "There is no pericardial effusion.",
            "No fluid in the pericardium.",
            "Pericardial effusion was not detected.",
        ),
    ),
    Phrasing(  # 4 coronary artery wall calcification
        present=(
            "Calcification of the coronary arteries.",
            "There are calcified plaques in the coronary arteries.",
            "Coronary artery wall calcification is present.",
            "Coronary calcification.",
        ),
        detailed=(
            "{severity} coronary calcification in the {place}.",
            "Calcified coronary plaques in the {place}.",
            "{severity} coronary artery wall calcification.",
            "The {place} shows {severity} coronary calcification.",
        ),
        absent=(
            "No calcification of the coronary arteries.",
            "There are no calcified plaques in the coronary arteries.",
            "No coronary artery wall calcification.",
            "Coronary calcification was not observed.",
        ),
    ),
    Phrasing(  # 5 hiatal hernia
        present=(
            "Hiatal hernia is present.",
            "There is a hiatal hernia.",
            "Hiatal hernia behind the heart.",
            "Hiatal hernia.",
        ),
        detailed=(
            "Hiatal hernia measuring {size} mm.",
            "{severity} hiatal hernia with gas in it.",
            "There is a hiatal hernia of {size} mm behind the heart.",
            "{severity} hiatal hernia.",
        ),
        absent=(
            "No hiatal hernia.",
            "There is no hiatal hernia.",
            "Hiatal hernia is not seen.",
            "No evidence of hiatal hernia.",
        ),
    ),
    Phrasing(  # 6 lymphadenopathy
        present=(
            "Lymphadenopathy is present.",
            "There are enlarged lymph nodes in the mediastinum.",
            "Mediastinal lymphadenopathy.",
            "Pathologically enlarged lymph nodes.",
        ),
        detailed=(
            "Enlarged {place} lymph nodes up to {size} mm.",
            "{place} lymphadenopathy, the largest node measuring {size} mm.",
            "There are enlarged lymph nodes, largest {place} with {size} mm.",
            "{number} enlarged lymph nodes in the mediastinum up to {size} mm.",
        ),
        absent=(
            "No lymphadenopathy.",
            "There are no enlarged lymph nodes in the mediastinum.",
            "No enlarged lymph nodes.",
            "Lymph nodes in pathological size were not detected.",
        ),
    ),
    Phrasing(  # 7 emphysema
        present=(
            "Emphysema is present.",
            "There is emphysema in both lungs.",
            "Emphysematous changes.",
            "Pulmonary emphysema.",
        ),
        detailed=(
            "{severity} {kind} emphysema in the {place}.",
            "{kind} emphysema in the {place}.",
            "Emphysematous changes in the {place} of {severity} degree.",
            "{severity} emphysema, {kind} type.",
        ),
        absent=(
            "No emphysema.",
            "There is no emphysema.",
            "No emphysematous changes.",
            "Emphysema is not seen.",
        ),
    ),
    Phrasing(  # 8 atelectasis
        present=(
            "Atelectasis is present.",
            "There is atelectasis at the lung base.",
            "Atelectatic changes.",
            "Basal atelectasis.",
        ),
        detailed=(
            "{kind} atelectasis in the {place}.",
            "Atelectasis at the base of the {place}.",
            "{severity} atelectasis in the {place}.",
            "Atelectatic changes of the {place}.",
        ),
        absent=(
            "No atelectasis.",
            "There is no atelectasis.",
            "No atelectatic changes.",
            "Atelectasis is not observed.",
        ),
    ),
    Phrasing(  # 9 lung nodule
        present=(
            "Lung nodule is present.",
            "There is a pulmonary nodule.",
            "Pulmonary nodule.",
            "Nodular lesion of the lung.",
        ),
        detailed=(
            "{number} pulmonary nodule{s}, {measuring} {size} mm in the {place}.",
            "Lung nodule of {size} mm in the {place}.",
            "A nodule measuring {size} mm is seen in the {place}.",
            "{number} solid nodule{s} up to {size} mm, {place}.",
        ),
        absent=(
            "No lung nodule.",
            "There is no pulmonary nodule.",
            "No pulmonary nodules.",
            "Nodules were not detected in the lungs.",
        ),
    ),
    Phrasing(  # 10 lung opacity
        present=(
            "Ground-glass opacity is present.",
            "There is ground-glass opacity in the lung.",
            "Lung opacity.",
            "Ground-glass densities.",
        ),
        detailed=(
            "Ground-glass opacity in the {place}.",
            "{severity} ground-glass opacity in the {place}.",
            "Lung opacity of {size} mm in the {place}.",
            "Areas of ground-glass opacity, largest in the {place}.",
        ),
        absent=(
            "No ground-glass opacity.",
            "There is no ground-glass opacity in the lung.",
            "No lung opacity.",
            "Ground-glass densities were not observed.",
        ),
    ),
    Phrasing(  # 11 pulmonary fibrotic sequela
        present=(
            "Fibrotic sequela is present.",
            "There are fibrotic bands in the apices.",
            "Fibrotic sequelae changes.",
            "Pulmonary fibrotic sequela.",
        ),
        detailed=(
            "Fibrotic {kind} in the {place}.",
            "{severity} fibrotic sequela in the {place}.",
            "Fibrotic sequelae changes at the {place}.",
            "Pleuroparenchymal fibrotic bands, {place}.",
        ),
        absent=(
            "No fibrotic sequela.",
            "There are no fibrotic bands in the apices.",
            "No fibrotic sequelae changes.",
            "Fibrotic changes were not observed.",
        ),
    ),
    Phrasing(  # 12 pleural effusion
        present=(
            "Pleural effusion is present.",
            "There is a pleural effusion.",
            "Fluid in the pleural space.",
            "Pleural effusion.",
        ),
        detailed=(
            "{side} pleural effusion.",
            "{severity} {side} pleural effusion.",
            "{side} pleural effusion with a depth of {size} mm.",
            "Fluid in the pleural space {on_side}, {size} mm deep.",
        ),
        absent=(
            "No pleural effusion.",
            "There is no pleural effusion.",
            "No fluid in the pleural space.",
            "Pleural effusion was not detected.",
        ),
    ),
    Phrasing(  # 13 mosaic attenuation pattern
        present=(
            "Mosaic attenuation pattern is present.",
            "There is mosaic attenuation in both lungs.",
            "Mosaic attenuation pattern.",
            "The lungs show mosaic attenuation.",
        ),
        detailed=(
            "{severity} mosaic attenuation pattern in {place}.",
            "Mosaic attenuation in {place}.",
            "Mosaic attenuation pattern of {severity} degree.",
            "{place} show {severity} mosaic attenuation.",
        ),
        absent=(
            "No mosaic attenuation pattern.",
            "There is no mosaic attenuation.",
            "No mosaic attenuation in the lungs.",
            "Mosaic attenuation was not observed.",
        ),
    ),
    Phrasing(  # 14 peribronchial thickening
        present=(
            "Peribronchial thickening is present.",
            "There is thickening of the bronchial walls.",
            "Peribronchial thickening.",
            "The bronchial walls are thickened.",
        ),
        detailed=(
            "{severity} peribronchial thickening.",
            "Peribronchial thickening of the {place}.",
            "{severity} thickening of the bronchial walls, {place}.",
            "The bronchial walls of the {place} are thickened.",
        ),
        absent=(
            "No peribronchial thickening.",
            "There is no thickening of the bronchial walls.",
            "The bronchial walls are not thickened.",
            "Peribronchial thickening was not observed.",
        ),
    ),
    Phrasing(  # 15 consolidation
        present=(
            "Consolidation is present.",
            "There is consolidation in the lung.",
            "Consolidation.",
            "Consolidated lung.",
        ),
        detailed=(
            "Consolidation in the {place}.",
            "{severity} consolidation in the {place}.",
            "Consolidation with air bronchograms in the {place}.",
            "Consolidated area of {size} mm in the {place}.",
        ),
        absent=(
            "No consolidation.",
            "There is no consolidation in the lung.",
            "No consolidated lung.",
            "Consolidation was not detected.",
        ),
    ),
    Phrasing(  # 16 bronchiectasis
        present=(
            "Bronchiectasis is present.",
            "There is bronchiectasis.",
            "Dilated bronchi.",
            "Bronchiectatic changes.",
        ),
        detailed=(
            "{kind} bronchiectasis in the {place}.",
            "Bronchiectasis in the {place}.",
            "Dilated bronchi with thick walls in the {place}.",
            "{severity} bronchiectatic changes, {place}.",
        ),
        absent=(
            "No bronchiectasis.",
            "There is no bronchiectasis.",
            "No dilated bronchi.",
            "Bronchiectasis was not observed.",
        ),
    ),
    Phrasing(  # 17 interlobular septal thickening
        present=(
            "Interlobular septal thickening is present.",
            "There is thickening of the interlobular septa.",
            "Interlobular septal thickening.",
            "The interlobular septa are thickened.",
        ),
        detailed=(
            "{severity} interlobular septal thickening.",
            "Interlobular septal thickening in the {place}.",
            "{severity} thickening of the interlobular septa, {place}.",
            "The interlobular septa in the {place} are thickened.",
        ),
        absent=(
            "No interlobular septal thickening.",
            "There is no thickening of the interlobular septa.",
            "The interlobular septa are not thickened.",
            "Interlobular septal thickening was not observed.",
        ),
    ),
)

COVERING: tuple[tuple[str, frozenset[int]], ...] = (
    ("The heart and pericardium are unremarkable.", frozenset({2, 3})),
    ("Aorta and coronary vessels without calcification.", frozenset({1, 4})),
    ("No pleural or pericardial effusion.", frozenset({3, 12})),
    ("The airways are unremarkable.", frozenset({14, 16})),
    ("No infiltrate or mass in the lungs.", frozenset({9, 10, 15})),
    ("The lungs are clear.", frozenset({7, 8, 9, 10, 11, 13, 14, 15, 16, 17})),
    ("The mediastinum is unremarkable.", frozenset({5, 6})),
)
"""Normal statements and the findings that must all be absent for them to be true."""

NEUTRAL: tuple[str, ...] = (
    "The trachea and both main bronchi are open.",
    "The thyroid gland is unremarkable.",
    "The liver is normal in size and contour.",
    "The spleen is unremarkable.",
    "The visible bones show no lytic lesion.",
    "No rib fracture.",
    "Degenerative changes of the spine.",
    "The chest wall is unremarkable.",
    "The diameter of the aorta is normal.",
    "No pneumothorax.",
)
"""Statements about what is not among the findings; drawn without regard to them."""

NO_ABNORMALITY: tuple[str, ...] = (
    "No acute abnormality.",
    "Unremarkable examination of the chest.",
    "No abnormal finding in the chest.",
)
"""Impressions of a study without any finding."""

DEVICES: dict[str, str] = {
    "pacemaker": "a cardiac pacemaker in the {side} chest wall",
    "port": "a port catheter in the {side} chest wall",
    "wires": "sternal wires after surgery",
}
"""What the kinds of medical material are called."""

ON_SIDE: dict[str, str] = {
    "right": "on the right",
    "left": "on the left",
    "bilateral": "on both sides",
    "": "",
}
"""How a side is said after a noun."""
