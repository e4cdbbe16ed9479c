//! What customers and agents say, escaped as `json.dumps` escapes it.

/// Bodies of messages.
pub const BODIES: [&str; 10] = [
    r"My order has not arrived yet, and the tracking page still says \u201cin transit\u201d. Can you tell me where it is?",
    r"Guten Tag, die Rechnung f\u00fcr Oktober stimmt nicht: es wurden 49,90 \u20ac statt 39,90 \u20ac abgebucht.",
    r"Bonjour, je n'arrive plus \u00e0 me connecter depuis la mise \u00e0 jour. Le mot de passe est pourtant correct.",
    r"hi!! is anybody there? \ud83d\ude4f I need the confirmation today",
    r"Please cancel my subscription at the end of this month.\nThank you,\nJoanna",
    r"\u304a\u4e16\u8a71\u306b\u306a\u3063\u3066\u304a\u308a\u307e\u3059\u3002\u8fd4\u54c1\u306e\u65b9\u6cd5\u3092\u6559\u3048\u3066\u304f\u3060\u3055\u3044\u3002",
    r#"The \"Pay now\" button does nothing in my browser (C:\\Program Files\\Browser), with or without extensions."#,
    r"Dzie\u0144 dobry, czy mog\u0119 zmieni\u0107 adres dostawy? Paczka jeszcze nie wysz\u0142a.",
    r"Everything works again, thanks for the quick help! \u2764\ufe0f",
    r"ok",
];

pub const SUBJECTS: [&str; 6] = [
    r"Order not delivered",
    r"Falsche Rechnung \u00fcber 49,90 \u20ac",
    r"Login impossible apr\u00e8s la mise \u00e0 jour",
    r"Cancel subscription",
    r"\u8fd4\u54c1\u306b\u3064\u3044\u3066",
    r"Change of delivery address",
];

pub const ANSWERS: [&str; 4] = [
    r"Thank you for your message. We are looking into it and will be back today.",
    r"Vielen Dank f\u00fcr Ihre Nachricht, wir haben die Rechnung korrigiert.",
    r"Your parcel is on its way: it will be with you tomorrow \u263a",
    r"Merci pour votre patience, le probl\u00e8me est r\u00e9solu.",
];

pub const CATEGORIES: [&str; 4] = ["delivery", "billing", "account", "other"];

pub const MESSAGE_TYPES: [&str; 3] = ["question", "complaint", "request"];
