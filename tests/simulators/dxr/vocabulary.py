"""Words the generated tenant is made of: connectors, labels, annotators, people, folders and file names."""

CONNECTORS = (
    "SHAREPOINT_ONLINE_GRAPH_API", "NETWORK_DRIVE_SMB", "GOOGLE_DRIVE_GOOGLE_WORKSPACE", "AMAZON_S3",
    "ONEDRIVE_GRAPH_API", "BOX", "AZURE_BLOB_STORAGE", "FOLDER_PATH", "SHAREPOINT_2016_2019_REST_API",
    "GOOGLE_CLOUD_STORAGE", "GOOGLE_SHARED_DRIVE_GOOGLE_WORKSPACE", "NETWORK_DRIVE_SSH", "NETWORK_DRIVE_SMB_LEGACY",
    "CONTENT_SUITE", "FILE_UPLOAD", "ON_DEMAND_CLASSIFIER",
)  # fmt: skip
PLACES = ("Finance", "Ärzteakten", "Legal", "HR", "研究開発", "Vertrieb", "Contabilité", "Проекты", "Ops", "Archive")
LABELS = (
    "Confidential", "Internal", "Public", "GDPR Art. 9", "Strictly confidential", "Retention 10y", "Kundendaten",
    "To be deleted", "Litigation hold", "機密", "Export controlled", "Reviewed",
)  # fmt: skip
# name, domain, and how a phrase of it looks; `#` is a digit, `?` a letter
ANNOTATORS = (
    ("E-mail address", "PII", "????.??????@example.org"),
    ("Phone number", "PII", "+49 ### #######"),
    ("Person name", "PII", "???????? ?????????"),
    ("Passport number", "PII", "?########"),
    ("IBAN", "Financial", "DE## #### #### #### #### ##"),
    ("Credit card", "Financial", "4### #### #### ####"),
    ("Diagnosis code", "Health", "?##.#"),
    ("Password", "Secrets", "password=????##??##"),
    ("IP address", "Network", "10.#.##.1##"),
)
GIVEN = ("Anna", "Björn", "Chloé", "Dmitri", "Élodie", "Fatima", "Giorgos", "Hélène", "İlker", "José", "Łucja", "美咲")
FAMILY = ("Schmidt", "Østergård", "García", "Nowak", "O'Neill", "Müller", "Ivanova", "Šimić", "Papadopoulos", "佐藤")
ACCOUNT_KINDS = (("USER", "MEMBER"), ("USER", "GUEST"), ("GROUP", "SECURITY_GROUP"), ("GROUP", "DISTRIBUTION_LIST"))
SUBJECTS = (
    "Quarterly report", "Invoice", "Jahresabschluß", "Employment contract", "Besprechungsnotiz", "Übergabeprotokoll",
    "Customer list", "Bilan financier", "会議の議事録", "Отчёт", "Salary review", "Scan", "Patient file",
    "Backup “final”",
)  # fmt: skip
KINDS = (
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("pdf", "application/pdf"),
    ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ("txt", "text/plain"),
    ("csv", "text/csv"),
    ("eml", "message/rfc822"),
    ("jpg", "image/jpeg"),
    ("pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
)
CATEGORIES = ("Contract", "Invoice", "CV", "Medical record", "Source code", "Correspondence", "Financial statement")
EXTRACTORS = (("Author", "TEXT"), ("Page count", "NUMBER"), ("Contains signature", "BOOLEAN"), ("Language", "TEXT"))
