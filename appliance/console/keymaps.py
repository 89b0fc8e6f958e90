"""What the keys of each keyboard write: made by `scripts/keymaps.py` from xkeyboard-config (MIT licence). Data only.

For each layout four strings: plain, with Shift, with AltGr, with both; a character for each key of
`keyboard.KEYCODES`, a blank where there is none. Loaded only where a keyboard is set.
"""

from __future__ import annotations

KEYMAPS: dict[str, tuple[str, str, str, str]] = {
    "us": (
        "`1234567890-=qwertyuiop[]asdfghjkl;'\\<zxcvbnm,./  ",
        '~!@#$%^&*()_+QWERTYUIOP{}ASDFGHJKL:"|>ZXCVBNM<>?  ',
        "                                     |            ",
        "                                     ¦            ",
    ),
    "be": (
        '²&é"\'(§è!çà)-azertyuiop^$qsdfghjklmùµ<wxcvbn,;:=  ',
        '³1234567890°_AZERTYUIOP"*QSDFGHJKLM%£>WXCVBN?./+  ',
        "¬|@#¼½^{[{}\\,@ſ€¶ŧ←↓→œþ[]æßðđŋħ ĸł''`\\«»¢„“”,•·~  ",
        "¬¡⅛£$⅜⅝⅞™±°¿ Ω§¢®Ŧ¥↑ıŒÞ°¯ÆẞÐªŊĦ &Ł   \\<>©‚‘’º×÷   ",
    ),
    "br": (
        "'1234567890-=qwertyuiop'[asdfghjklç~]\\zxcvbnm,.;/ ",
        '"!@#$%"&*()_+QWERTYUIOP`{ASDFGHJKLÇ^}|ZXCVBNM<>:? ',
        "¬¹²³£¢¬{[]}\\§/?°®ŧ←↓→øþ´ªæßðđŋħ ĸł'~º «»©„“”µ•· ° ",
        "¬¡½¾¼⅜¨⅞™±°¿ /?°®Ŧ¥↑ıØÞ`¯ÆẞÐªŊĦ &Ł ^º <>©‚‘’µ×÷ ¿ ",
    ),
    "ca": (
        "#1234567890-=qwertyuiop^,asdfghjkl;`<«zxcvbnm,.é  ",
        '|!"/$%?&*()_+QWERTYUIOP^"ASDFGHJKL:`>»ZXCVBNM\'.É  ',
        "\\±@£¢¤¬¦²³¼½¾        §¶[]         ~{}°      µ¯ '  ",
        "                                     ¦            ",
    ),
    "ch": (
        '§1234567890\'^qwertzuiopü"asdfghjklöä$<yxcvbnm,.-  ',
        '°+"*ç%&/()=?`QWERTZUIOPè!ASDFGHJKLéà£>YXCVBNM;:_  ',
        "¬|@#¼½¬|¢]}'~@ſ€¶ŧ←↓→œþ[]æßðđŋħ ĸł'{}\\«»¢„“”µ•·   ",
        "¬¡⅛£$⅜⅝⅞™±°¿ Ω§E®Ŧ¥↑ıŒÞ°¯ÆẞÐªŊĦ &Ł   ¦<>©‚‘’º×÷   ",
    ),
    "ch-fr": (
        '§1234567890\'^qwertzuiopè"asdfghjkléà$<yxcvbnm,.-  ',
        '°+"*ç%&/()=?`QWERTZUIOPü!ASDFGHJKLöä£>YXCVBNM;:_  ',
        "¬|@#¼½¬|¢]}'~@ſ€¶ŧ←↓→œþ[]æßðđŋħ ĸł'{}\\«»¢„“”µ•·   ",
        "¬¡⅛£$⅜⅝⅞™±°¿ Ω§E®Ŧ¥↑ıŒÞ°¯ÆẞÐªŊĦ &Ł   ¦<>©‚‘’º×÷   ",
    ),
    "cz": (
        ';+ěščřžýáíé=\'qwertyuiopú)asdfghjklů§"\\zxcvbnm,.-  ',
        '°1234567890% QWERTYUIOP/(ASDFGHJKL"!\'|ZXCVBNM?:_  ',
        "`!@#$%^&*()\\¯\\|€¶ŧ←↓→øþ[]~đĐ[]`'łŁ;'\\/°#&@{}^<>*  ",
        '~~ ^ ° ` \' ",Ω§E®Ŧ¥↑ıØÞ{}ÆẞÐªŊĦ &Ł:ß|¦<>©‚‘’º×÷   ',
    ),
    "de": (
        "^1234567890ß'qwertzuiopü+asdfghjklöä#<yxcvbnm,.-  ",
        '°!"§$%&/()=?`QWERTZUIOPÜ*ASDFGHJKLÖÄ\'>YXCVBNM;:_  ',
        '′¹²³¼½¬{[]}\\,@ſ€¶ŧ←↓→øþ"~æſðđŋħ ĸł ^’|»«¢„“”µ·…–  ',
        "″¡⅛£¤⅜⅝⅞™±°¿ Ω§€®Ŧ¥↑ıØÞ°¯ÆẞÐªŊĦ &Ł    ›‹©‚‘’º×÷—  ",
    ),
    "dk": (
        '½1234567890+\'qwertyuiopå"asdfghjklæø\'<zxcvbnm,.-  ',
        '§!"#¤%&/()=?`QWERTYUIOPÅ^ASDFGHJKLÆØ*>ZXCVBNM;:_  ',
        '¾¡@£$½¥{[]}±|@ſ€®þ←↓→œþ"~ªßðđŋħ ĸł\'^ \\«»©„“”µ,·   ',
        "¶¹²³¼¢⅝÷«»°¿¦Ω§¢®Þ¥↑ıŒÞ° ºẞÐªŊĦ &Ł  ×¬<>©‚‘’º     ",
    ),
    "dvorak": (
        "`1234567890[]',.pyfgcrl/=aoeuidhtns-\\<;qjkxbmwvz  ",
        '~!@#$%^&*(){}"<>PYFGCRL?+AOEUIDHTNS_|>:QJKXBMWVZ  ',
        "`     ^  `  ~',                      |            ",
        '~     ^      " ·                     ¦            ',
    ),
    "ee": (
        " 1234567890+'qwertyuiopüõasdfghjklöä'<zxcvbnm,.-  ",
        '~!"#¤%&/()=?`QWERTYUIOPÜÕASDFGHJKLÖÄ*>ZXCVBNM;:_  ',
        '¬¹@£$½¬{[]}\\`@ſ€¶ŧ←↓→øþ"§æšðđŋħ ĸł\'^½|ž»¢„“”µ<>|  ',
        "¬¡⅛£$⅜⅝⅞™±°¿'Ω§¢®Ŧ¥↑ıØÞ°¯ÆŠÐªŊĦ &Ł   ¦Ž>©‚‘’º×÷˙  ",
    ),
    "es": (
        "º1234567890'¡qwertyuiop`+asdfghjklñ'ç<zxcvbnm,.-  ",
        'ª!"·$%&/()=?¿QWERTYUIOP^*ASDFGHJKLÑ"Ç>ZXCVBNM;:_  ',
        "\\|@#~½¬{[]}\\,@ſ€¶ŧ←↓→øþ[]æßðđŋħ ĸł~{}|«»¢„“”µ•·   ",
        "\\¡⅛£$⅜⅝⅞™±°¿ Ω§¢®Ŧ¥↑ıØÞ°¯ÆẞÐªŊĦ &Ł   ¦<>©‚‘’º×÷   ",
    ),
    "fi": (
        '§1234567890+\'qwertyuiopå"asdfghjklöä\'<zxcvbnm,.-  ',
        '½!"#¤%&/()=?`QWERTYUIOPÅ^ASDFGHJKLÖÄ*>ZXCVBNM;:_  ',
        "  @£$‰‚{[]}\\,qw€rþyuıœ  ~əßðfghjĸ øæ |ʒ×cvbŋµ’ –  ",
        " ¡”»«“„ <>°¿ QW RÞYU|Œ °¯ƏẞÐFGHJ  ØÆ ¦Ʒ·CVBŊ—‘    ",
    ),
    "fr": (
        '²&é"\'(-è_çà)=azertyuiop^$qsdfghjklmù*<wxcvbn,;:!  ',
        '~1234567890°+AZERTYUIOP"£QSDFGHJKLM%µ>WXCVBN?./§  ',
        '¬¹~#{[|`\\^@]}æ«€¶ŧ←↓→øþ"¤@ßðđŋħ ĸłµ^`|ł»¢„“”\'•·   ',
        "¬¡⅛£$⅜⅝⅞™±°¿ Æ<¢®Ŧ¥↑ıØÞ°¯ΩẞÐªŊĦ &Łº  ¦Ł>©‚‘’ ×÷   ",
    ),
    "gb": (
        "`1234567890-=qwertyuiop[]asdfghjkl;'#\\zxcvbnm,./  ",
        '¬!"£$%^&*()_+QWERTYUIOP{}ASDFGHJKL:@~|ZXCVBNM<>?  ',
        '|¹²³€½¾{[]}\\,@ſe¶ŧ←↓→øþ"~æßðđŋħ ĸł\'^`|«»¢„“”µ•·   ',
        "|¡⅛£¼⅜⅝⅞™±°¿ Ω§E®Ŧ¥↑ıØÞ°¯ÆẞÐªŊĦ &Ł   ¦<>©‚‘’º×÷   ",
    ),
    "hr": (
        "`1234567890'+qwertzuiopšđasdfghjklčćž<yxcvbnm,.-  ",
        '~!"#$%&/()=?*QWERTZUIOPŠĐASDFGHJKLČĆŽ>YXCVBNM;:_  ',
        '¬~ ^ ° ` \' ",\\|€¶ŧ←↓→øþ÷×æ„”[]ħ łł\'ß¤|‘’¢@{}§<>   ',
        "¬~ˇ^˘°˛`˙'˝¨¸ΩŁ€®Ŧ¥↑ıØÞ°¯Æ»«ªŊĦ &Ł   ¦»«©`'}º×÷   ",
    ),
    "hu": (
        "0123456789öüóqwertzuiopőúasdfghjkléáűíyxcvbnm,.-  ",
        '§\'"+!%/=()ÖÜÓQWERTZUIOPŐÚASDFGHJKLÉÁŰÍYXCVBNM?:_  ',
        '¬~ ^ ° ` \' ",\\|Ä¶ŧ–€Í„”÷×äđĐ[]ħíłŁ$ß¤<>#&@{}<;>*  ',
        "¬~ˇ^˘°˛`˙´˝¨¸Ω§E®Ŧ¥↑íØÞ°¯ÄẞÐªŊĦÍ&Ł¢ẞ ><>©‚‘’º×÷   ",
    ),
    "is": (
        "°1234567890ö-qwertyuiopð'asdfghjklæ'+<zxcvbnm,.þ  ",
        '"!"#$%&/()=Ö_QWERTYUIOPÐ?ASDFGHJKLÆ\'*>ZXCVBNM;:Þ  ',
        '¬¹²³¼½¬{[]}\\,@ſ€¶ŧ←↓→ø|"~æß„đŋħ ĸł^^`|«»¢„“”µ•·   ',
        " ¡⅛£¤⅜⅝⅞™±°¿ Ω§¢®Ŧ¥↑ıØπ°¯Æẞ“ªŊĦ &Ł   ¦<>©‚‘’º×÷   ",
    ),
    "it": (
        "\\1234567890'ìqwertyuiopè+asdfghjklòàù<zxcvbnm,.-  ",
        '|!"£$%&/()=?^QWERTYUIOPé*ASDFGHJKLç°§>ZXCVBNM;:_  ',
        "¬¹²³¼½¬{[]}`~@ſ€¶ŧ←↓→øþ[]æßðđŋħ ĸł@#`««»¢“”ñµ'·¯  ",
        '¦¡ ~⅛⅜⅝⅞™± ¿^Ω§¢®Ŧ¥↑ıØÞ{}ÆẞÐªŊĦ &Ł,° »<>©‘’Ñº×"÷  ',
    ),
    "jp": (
        " 1234567890-^qwertyuiop@[asdfghjkl;:]<zxcvbnm,./\\\\",
        ' !"#$%&\'()~=~QWERTYUIOP`{ASDFGHJKL+*}>ZXCVBNM<>?_|',
        "                                     |            ",
        "                                     ¦            ",
    ),
    "latam": (
        "|1234567890'¿qwertyuiop'+asdfghjklñ{}<zxcvbnm,.-  ",
        '°!"#$%&/()=?¡QWERTYUIOP"*ASDFGHJKLÑ[]>ZXCVBNM;:_  ',
        '¬|@·~½¬{[]}\\,@ſ€¶ŧ←↓→øþ"~æßðđŋħ ĸł~^`\\«»¢„“”µ•·   ',
        "¬¡⅛£$⅜⅝⅞™±°¿ Ω§¢®Ŧ¥↑ıØÞ°¯ÆẞÐªŊĦ &Ł {}|<>©‚‘’º×÷   ",
    ),
    "no": (
        '|1234567890+\\qwertyuiopå"asdfghjkløæ\'<zxcvbnm,.-  ',
        '§!"#¤%&/()=?`QWERTYUIOPÅ^ASDFGHJKLØÆ*>ZXCVBNM;:_  ',
        '¦¡@£$½¥{[]}±\'@ſ€®þ←↓→œπ"~ªßðđŋħ ĸł\'^ ½«»©„“”µ,…–  ',
        "¶¹²³¼‰⅝÷«»°¿¬Ω§¢™Þ¥↑ıŒΠ° ºẞÐªŊĦ &Ł  ×¾<>©‚‘’º ·—  ",
    ),
    "pl": (
        "`1234567890-=qwertyuiop[]asdfghjkl;'\\<zxcvbnm,./  ",
        '~!@#$%^&*()_+QWERTYUIOP{}ASDFGHJKL:"|>ZXCVBNM<>?  ',
        '¬≠²³¢€½§·«»–,πœę©ß←↓→óþ"~ąśðæŋ’ə…ł\'^`|żźć„”ńµ≤≥   ',
        "∨¡¿£¼‰∧≈¾±°— ΩŒĘ®™¥↑↔ÓÞ°¯ĄŚÐÆŊ•Ə Ł   ¦ŻŹĆ‘“Ń∞×÷   ",
    ),
    "pt": (
        "\\1234567890'«qwertyuiop+'asdfghjklçº~<zxcvbnm,.-  ",
        '|!"#$%&/()=?»QWERTYUIOP*`ASDFGHJKLÇª^>ZXCVBNM;:_  ',
        '¬¹@£§½¬{[]}\\,@ſ€¶ŧ←↓→øþ"~æßðđŋħ ĸł\'^`\\«»¢„“”µ•·   ',
        "¬¡⅛£$⅜⅝⅞™±°¿ Ω§¢®Ŧ¥↑ıØÞ°¯ÆẞÐªŊĦ &Ł   \\<>©‚‘’º×÷   ",
    ),
    "ro": (
        "`1234567890-=qwertyuiop[]asdfghjkl;'\\\\zxcvbnm,./  ",
        '~!@#$%^&*()_+QWERTYUIOP{}ASDFGHJKL:"||ZXCVBNM<>?  ',
        ' ~ ^ ° ` \' ",âß€ ț  î §„”ășđ     ł   |  ©    «»   ',
        "           –±Âẞ  Ț  Î    ĂȘĐ     Ł   ¦            ",
    ),
    "se": (
        '§1234567890+\'qwertyuiopå"asdfghjklöä\'<zxcvbnm,.-  ',
        '½!"#¤%&/()=?`QWERTYUIOPÅ^ASDFGHJKLÖÄ*>ZXCVBNM;:_  ',
        '¶¡@£$€¥{[]}\\±@ſ€®þ←↓→œþ"~ªßðđŋħ ĸłøæ´|«»©„“”µ,·   ',
        "¾¹²³¼¢⅝÷«»°¿¬Ω§¢®Þ¥↑ıŒÞ° ºẞÐªŊĦ &ŁØÆ×¦<>©‚‘’º     ",
    ),
    "sk": (
        ";+ľščťžýáíé='qwertyuiopúäasdfghjklô§ň\\zxcvbnm,.-  ",
        '°1234567890% QWERTYUIOP/(ASDFGHJKL"!)|ZXCVBNM?:_  ',
        "`!@#$%^&*{}\\¯\\|€¶ŧ←↓→øþ[]~đĐ[]`'łŁ$'\\/°#&@{}^<>*  ",
        '~~ ^ ° ` \' ",Ω§E®Ŧ¥↑ıØÞ÷×ÆẞÐªŊĦ &Ł ß|¦<>©‚‘’º×÷   ',
    ),
    "tr": (
        '"1234567890*-qwertyuıopğüasdfghjklşi,<zxcvbnmöç.  ',
        "é!'^+%&/()=?_QWERTYUIOPĞÜASDFGHJKLŞİ;>ZXCVBNMÖÇ:  ",
        '<>£#$½¾{[]}\\|@ €¶₺←ûîô "~âß ª     ´\'`|«»¢„“”µ×·   ',
        "°¡²³¼⅜   ±°¿ Ω  ® ¥ÛÎÔ °¯Â        ' `¦<>©‚‘’º ÷   ",
    ),
}
