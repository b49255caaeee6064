package io.ottla.golden;

/** A range of versions as the schemas spell it: "3", "3+", "3-5" or "none". */
record Versions(int low, int high) {
    static Versions of(String text) {
        if (text.equals("none")) {
            return new Versions(0, -1);
        }
        if (text.endsWith("+")) {
            return new Versions(Integer.parseInt(text.substring(0, text.length() - 1)), Short.MAX_VALUE);
        }
        String[] ends = text.split("-");
        return new Versions(Integer.parseInt(ends[0]), Integer.parseInt(ends[ends.length - 1]));
    }

    boolean contains(int version) {
        return low <= version && version <= high;
    }
}
