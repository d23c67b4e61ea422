"""Names of columns whose values name something: customers, orders, telephones, rows; in several languages."""

import re

NAMED = "user|customer|cust|client|order|account|acct|session|transaction|person|patient|member|employee|emp|student"
"""What is often written together with ``id``, without a capital or a separator."""
LATIN = re.compile(
    r"(?:^|[^A-Za-z])(?:id|ID|Id)$"
    r"|[a-z](?:Id|ID)$"
    rf"|(?:^|[^A-Za-z])(?i:u|row|{NAMED})(?i:id|no|nr)$"
    r"|[a-z0-9](?:No|Nr|Uid|UID|Uuid|UUID|Guid|GUID|Key|Code|Number|Phone|Mobile)\.?$"
    r"|^(?i:no|nr|uuid|guid|oid|index|idx|row|rownum|row_?number|unnamed: ?\d+|__index_level_\d+__)\.?$"
    r"|^(?i:phone|mobile|telephone|e-?mail|ssn|iban|imei|isbn|vin|barcode)$"
    r"|[_ .-](?i:no|nr|uid|uuid|guid|key|code|number|phone|mobile|e-?mail|ssn|iban|imei)\.?$"
    r"|^(?i:full|first|last|given|family|middle)?[ _-]?(?i:name)$"
    r"|^(?i:user|customer|client|contact|person|patient|student|employee)[ _-]?(?i:name)$"
    r"|(?i:nummer|номер|número|numéro|código)$"
)
"""``id`` as a word of its own at the end, ``CustomerNo``, ``order_number``, ``Unnamed: 0``, ``Kundennummer``, …"""
ASIAN = re.compile(
    r"^(?:姓名|名字|客户姓名|客户名称|联系人|患者姓名|学生姓名|員工姓名|员工姓名|氏名|お名前|성명|이름)$|"
    r"(?:编号|編號|序号|序號|号码|號碼|编码|編碼|代码|代碼|流水|主键|主鍵|账户|帳戶|账号|帳號|身份证|身份證|证件|證件|手机|手機|电话|電話|邮箱|郵箱|索引)$"
    r"|[号號]$|番号$|번호$"
)
"""``客户编号``, ``订单号``, ``身份证号``, ``手机号``, ``序号``, ``番号``, ``번호``, …"""
OTHERS = re.compile(r"(?:[信符正负引问括]号|[信符正負問]號)$")
"""Words that end with the same character, but are not numbers of anything: ``信号`` is a signal."""


def is_identifier_name(name: str) -> bool:
    """Whether the name says that each value names something, such as a customer or the row."""
    return bool(LATIN.search(name)) or bool(ASIAN.search(name) and not OTHERS.search(name))
