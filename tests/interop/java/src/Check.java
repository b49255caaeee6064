import java.util.*;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;

/** Runs named scenarios and prints one line for each: {@code ok NAME} or {@code FAIL NAME reason}. */
final class Check {
    interface Body { void run() throws Exception; }

    private int failed;

    void scenario(String name, Body body) {
        try {
            body.run();
            System.out.println("ok " + name);
        } catch (Throwable error) {
            failed++;
            System.out.println("FAIL " + name + " " + cause(error).toString().replace('\n', ' '));
            if (System.getenv("INTEROP_TRACE") != null) error.printStackTrace();
        }
    }

    int exitCode() { return failed == 0 ? 0 : 1; }

    static Throwable cause(Throwable error) {
        return error instanceof ExecutionException && error.getCause() != null ? error.getCause() : error;
    }

    static void equal(Object expected, Object actual, String what) {
        if (!Objects.equals(expected, actual)) throw new AssertionError(what + ": expected " + expected + ", got " + actual);
    }

    static void that(boolean condition, String what) {
        if (!condition) throw new AssertionError(what);
    }

    /** The call must fail with this exception class (by simple name, so that both client versions compile). */
    static void fails(String exception, Callable<?> call) throws Exception {
        try {
            call.call();
        } catch (Throwable error) {
            equal(exception, cause(error).getClass().getSimpleName(), "error " + cause(error).getMessage());
            return;
        }
        throw new AssertionError("expected " + exception + ", got success");
    }

    /** Repeats until true; what is eventual in Kafka (metadata, group states) is waited for here and nowhere else. */
    static void eventually(String what, Callable<Boolean> condition) throws Exception {
        long deadline = System.currentTimeMillis() + 20_000;
        Throwable last = null;
        while (System.currentTimeMillis() < deadline) {
            try {
                if (condition.call()) return;
                last = null;
            } catch (Exception error) {
                last = cause(error);
            }
            Thread.sleep(50);
        }
        throw new AssertionError("not within 20 s: " + what + (last == null ? "" : " (" + last + ")"));
    }
}
