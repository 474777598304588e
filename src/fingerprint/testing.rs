//! ClientHellos and frames made to measure.

/// A ClientHello to be written.
#[derive(Clone, Debug, Default)]
pub(super) struct Made {
    pub(super) version: u16,
    pub(super) ciphers: Vec<u16>,
    /// Extensions and their contents, in this order.
    pub(super) extensions: Vec<(u16, Vec<u8>)>,
}

impl Made {
    /// What a JA4_r says, with ALPN and versions as its first part says, in an order turned around.
    pub(super) fn of_raw(raw: &str) -> Self {
        let parts: Vec<_> = raw.split('_').collect();
        let list = |part: usize| -> Vec<u16> {
            let text = parts.get(part).copied().unwrap_or_default();
            text.split(',').filter(|item| !item.is_empty()).map(|item| u16::from_str_radix(item, 16).unwrap()).collect()
        };
        let (head, mut ciphers, mut numbers, signatures) = (parts[0], list(1), list(2), list(3));
        ciphers.reverse();
        numbers.reverse();
        let head: Vec<char> = head.chars().collect();
        let protocol: &[u8] = match &*head[8..].iter().collect::<String>() {
            "h2" => b"h2",
            "h1" => b"http/1.1",
            "bd" => &[0xba, 0xad],
            _ => b"",
        };
        if !protocol.is_empty() {
            numbers.insert(numbers.len() / 2, 0x0010);
        }
        if head[3] == 'd' {
            numbers.insert(0, 0);
        }
        let version = 0x0301 + u16::try_from(head[2].to_digit(10).unwrap()).unwrap();
        let modern = numbers.contains(&0x002b);
        let content = |number: &u16| match number {
            0x0010 => list16(&block8(protocol)),
            0x000d => list16(&pairs(&signatures)),
            0x002b => block8(&pairs(&[0x0303, version, 0x0302])),
            _ => vec![7; usize::from(*number % 5)],
        };
        let extensions = numbers.iter().map(|number| (*number, content(number))).collect();
        Self { version: if modern { 0x0303 } else { version }, ciphers, extensions }
    }

    /// The same with GREASE wherever a client may put some.
    pub(super) fn greased(mut self) -> Self {
        self.ciphers.insert(0, 0x1a1a);
        for (number, content) in &mut self.extensions {
            match number {
                0x002b => *content = block8(&[&[0xfa, 0xfa], &content[1..]].concat()),
                0x000d => *content = list16(&[&content[2..], &[0x3a, 0x3a]].concat()),
                _ => {}
            }
        }
        self.extensions.insert(0, (0xdada, vec![]));
        self.extensions.push((0x4a4a, vec![0]));
        self
    }

    /// In TLS records whose fragments have at most `cut` bytes.
    pub(super) fn records(&self, cut: usize) -> Vec<u8> {
        let extensions: Vec<u8> = self
            .extensions
            .iter()
            .flat_map(|(number, content)| [&number.to_be_bytes()[..], &list16(content)].concat())
            .collect();
        let mut body = [&self.version.to_be_bytes()[..], &[9; 32], &block8(&[3; 32])].concat();
        body.extend(list16(&pairs(&self.ciphers)));
        body.extend([1, 0]);
        if !self.extensions.is_empty() {
            body.extend(list16(&extensions));
        }
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        let message = [&[1], &length[1..], &body].concat();
        message.chunks(cut).flat_map(|fragment| [&[22, 3, 1][..], &list16(fragment)].concat()).collect()
    }
}

fn pairs(numbers: &[u16]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

fn block8(content: &[u8]) -> Vec<u8> {
    [&[u8::try_from(content.len()).unwrap()][..], content].concat()
}

fn list16(content: &[u8]) -> Vec<u8> {
    [&u16::try_from(content.len()).unwrap().to_be_bytes()[..], content].concat()
}

/// An HTTP/2 frame.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}
