"""Countries, as the engines name them."""

from __future__ import annotations

from typing import Final, NamedTuple


class Country(NamedTuple):
    """A country and the language that most of its pages are in."""

    name: str
    """English, in lower case."""
    language: str
    """ISO 639-1."""


COUNTRIES: Final = {
    line.split()[0]: Country(" ".join(line.split()[2:]), line.split()[1])
    for line in """
        AE ar united arab emirates
        AM hy armenia
        AR es argentina
        AT de austria
        AU en australia
        AZ az azerbaijan
        BE nl belgium
        BG bg bulgaria
        BR pt brazil
        BY ru belarus
        CA en canada
        CH de switzerland
        CL es chile
        CN zh china
        CO es colombia
        CZ cs czech republic
        DE de germany
        DK da denmark
        EE et estonia
        EG ar egypt
        ES es spain
        FI fi finland
        FR fr france
        GB en united kingdom
        GE ka georgia
        GR el greece
        HR hr croatia
        HU hu hungary
        ID id indonesia
        IE en ireland
        IL he israel
        IN en india
        IS is iceland
        IT it italy
        JP ja japan
        KG ru kyrgyzstan
        KR ko south korea
        KZ ru kazakhstan
        LT lt lithuania
        LV lv latvia
        MX es mexico
        MY ms malaysia
        NL nl netherlands
        NO nb norway
        NZ en new zealand
        PE es peru
        PH en philippines
        PL pl poland
        PT pt portugal
        RO ro romania
        RS sr serbia
        RU ru russia
        SA ar saudi arabia
        SE sv sweden
        SG en singapore
        SI sl slovenia
        SK sk slovakia
        TH th thailand
        TR tr turkey
        TW zh taiwan
        UA uk ukraine
        US en united states
        UZ uz uzbekistan
        VE es venezuela
        VN vi vietnam
        ZA en south africa
    """.strip().splitlines()
}
"""By ISO 3166-1 alpha-2 code; any other is told to an engine only where it takes the code itself."""

CODES: Final = frozenset(
    "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ "  # noqa: SIM905
    "CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO "
    "FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE "
    "JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO "
    "MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW "
    "PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM "
    "TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW".split()
)
"""Of ISO 3166-1 alpha-2."""
