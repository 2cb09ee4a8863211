//! Every quantized type against values made by the `gguf` Python package (tests/scripts/golden_blocks.py).

use qorus_kernels::{Isa, Kernels, Type};

fn take<'a>(bytes: &mut &'a [u8], n: usize) -> &'a [u8] {
    let (head, tail) = bytes.split_at(n);
    *bytes = tail;
    head
}

fn number(bytes: &mut &[u8]) -> u32 {
    u32::from_le_bytes(take(bytes, 4).try_into().unwrap())
}

#[test]
fn golden_values() {
    for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
        golden_values_at(isa);
    }
}

fn golden_values_at(isa: Isa) {
    let mut bytes: &[u8] = include_bytes!("golden/blocks.bin");
    let kernels = Kernels::new(isa).unwrap();
    let mut seen = Vec::new();
    while !bytes.is_empty() {
        let (id, size, count) = (number(&mut bytes), number(&mut bytes), number(&mut bytes));
        let ty = Type::from_id(id).unwrap();
        let blocks = take(&mut bytes, size as usize);
        let mut values = vec![f32::NAN; count as usize];
        kernels.dequantize(ty, blocks, &mut values);
        for (i, value) in values.iter().enumerate() {
            let expected = f32::from_bits(number(&mut bytes));
            assert_eq!(value.to_bits(), expected.to_bits(), "{ty:?} {i}: {value} for {expected}");
        }
        seen.push(ty);
    }
    assert!(Type::all().all(|ty| !ty.is_quantized() || seen.contains(&ty)), "types without golden values");
}
